package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// requestTimeout bounds a request whose caller sets no deadline.
const requestTimeout = 30 * time.Second

// Content types of requested answers. Metadata comes without values.
const (
	whole        = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	metadataKind = ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	metadataList = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	metadata     = runtime.ContentTypeProtobuf + metadataKind + "," + runtime.ContentTypeJSON + metadataKind
	metadatas    = runtime.ContentTypeProtobuf + metadataList + "," + runtime.ContentTypeJSON + metadataList
)

// scheme has the few types in use. The typed clients of client-go bring all
// types of Kubernetes, and always retry.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	s.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Secret{})
	s.AddKnownTypes(authorizationv1.SchemeGroupVersion, &authorizationv1.SelfSubjectAccessReview{})
	metav1.AddToGroupVersion(s, corev1.SchemeGroupVersion)
	s.AddKnownTypes(metav1.SchemeGroupVersion, &metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadataList{})
	return s
}()

// api sends requests about the Secrets of one namespace to the API server. Its
// errors are those of the API server or the network.
type api struct {
	rest      *rest.RESTClient
	namespace string
}

func newAPI(config *rest.Config, namespace string) (*api, error) {
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, whole
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	return &api{client, namespace}, err
}

func (a *api) request(verb, accept string) *rest.Request {
	return a.rest.Verb(verb).MaxRetries(0).Namespace(a.namespace).Resource("secrets").SetHeader("Accept", accept)
}

// do sends a request and reads the answer. If no answer comes, it closes the
// connection and all idle ones, which may be dead too.
func (a *api) do(ctx context.Context, request *rest.Request, into runtime.Object) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		if ctx.Err() != nil {
			a.closeIdle()
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return err
	}
	if into == nil {
		return nil
	}
	err := result.Into(into)
	answer, _ := result.Raw()
	clear(answer)
	if err != nil || isEmpty(into) {
		return errNoAnswer // err may quote the answer
	}
	return nil
}

// isEmpty reports whether an answer lacks fields that the API server always
// sets.
func isEmpty(answer runtime.Object) bool {
	switch answer := answer.(type) {
	case *metav1.PartialObjectMetadataList:
		return answer.ResourceVersion == ""
	case *corev1.Secret:
		return answer.UID == ""
	case *metav1.PartialObjectMetadata:
		return answer.UID == ""
	}
	return false
}

// errNoAnswer means that the answer has a good status, but makes no sense.
var errNoAnswer = errors.New("the answer is not from a Kubernetes API server: check for a proxy in between")

// get gets a Secret with its values.
func (a *api) get(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := new(corev1.Secret)
	return secret, a.do(ctx, a.request(http.MethodGet, whole).Name(name), secret)
}

// head gets the metadata of a Secret.
func (a *api) head(ctx context.Context, name string) (*metav1.ObjectMeta, error) {
	partial := new(metav1.PartialObjectMetadata)
	return &partial.ObjectMeta, a.do(ctx, a.request(http.MethodGet, metadata).Name(name), partial)
}

// headNamespace gets the metadata of the namespace itself.
func (a *api) headNamespace(ctx context.Context) (*metav1.ObjectMeta, error) {
	partial := new(metav1.PartialObjectMetadata)
	request := a.rest.Verb(http.MethodGet).MaxRetries(0).Resource("namespaces").Name(a.namespace).SetHeader("Accept", metadata)
	return &partial.ObjectMeta, a.do(ctx, request, partial)
}

// create makes a Secret, or only checks whether it could.
func (a *api) create(ctx context.Context, secret *corev1.Secret, dryRun bool) (*metav1.ObjectMeta, error) {
	request := a.request(http.MethodPost, metadata)
	if dryRun {
		request.Param("dryRun", metav1.DryRunAll)
	}
	return a.send(ctx, request, secret)
}

// update replaces a Secret that is at the resource version of its metadata.
func (a *api) update(ctx context.Context, secret *corev1.Secret) (*metav1.ObjectMeta, error) {
	return a.send(ctx, a.request(http.MethodPut, metadata).Name(secret.Name), secret)
}

func (a *api) send(ctx context.Context, request *rest.Request, secret *corev1.Secret) (*metav1.ObjectMeta, error) {
	body, err := encode(secret)
	if err != nil {
		return nil, err
	}
	defer body.Close() // in case the request was never sent
	partial := new(metav1.PartialObjectMetadata)
	return &partial.ObjectMeta, a.do(ctx, request.Param("fieldManager", fieldManager).SetHeader("Content-Type", runtime.ContentTypeProtobuf).Body(body), partial)
}

// remove deletes a Secret if it is still the one of meta.
func (a *api) remove(ctx context.Context, meta *metav1.ObjectMeta) error {
	return a.do(ctx, a.request(http.MethodDelete, metadata).Name(meta.Name).Body(&metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &meta.UID, ResourceVersion: &meta.ResourceVersion},
	}), nil)
}

// list lists metadata.
func (a *api) list(ctx context.Context, selector string, limit int, after string) (*metav1.PartialObjectMetadataList, error) {
	request := a.request(http.MethodGet, metadatas).Param("labelSelector", selector).Param("limit", fmt.Sprint(limit))
	if after != "" {
		request.Param("continue", after)
	}
	list := new(metav1.PartialObjectMetadataList)
	return list, a.do(ctx, request, list)
}

// watch sends the metadata of changes after a resource version for the given
// time, and the resource versions that it reaches.
func (a *api) watch(ctx context.Context, selector, after string, timeout time.Duration) (apiwatch.Interface, error) {
	return a.request(http.MethodGet, metadata).
		Param("watch", "true").Param("labelSelector", selector).Param("resourceVersion", after).
		Param("allowWatchBookmarks", "true").Param("timeoutSeconds", fmt.Sprint(int(timeout.Seconds()))).
		Watch(ctx)
}

// may asks whether this account has a permission on the namespace's Secrets.
func (a *api) may(ctx context.Context, verb string) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: a.namespace, Verb: verb, Version: "v1", Resource: "secrets"},
	}}
	err := a.do(ctx, a.rest.Post().MaxRetries(0).AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").Body(review), review)
	return review.Status.Allowed, err
}

// closeIdle closes the connections that no request uses.
func (a *api) closeIdle() { utilnet.CloseIdleConnectionsFor(a.rest.Client.Transport) }

// isAbsent reports whether err says that there is no such Secret.
func isAbsent(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.IsUnexpectedServerError(err)
}

// body is an encoded Secret. The transport's Close wipes it; if a request is
// given up, that may be in the middle of a Read.
type body struct {
	mu    sync.Mutex
	bytes []byte
	left  *bytes.Reader
}

// encode writes a Secret in the encoding of the API server. It leaves no copy
// but the body.
func encode(secret *corev1.Secret) (*body, error) {
	var (
		encoded bytes.Buffer
		copied  scratch
	)
	if err := protobuf.NewSerializer(scheme, scheme).EncodeWithAllocator(secret, &encoded, &copied); err != nil {
		return nil, err
	}
	clear(copied)
	return &body{bytes: encoded.Bytes(), left: bytes.NewReader(encoded.Bytes())}, nil
}

// scratch is the memory that an encoder allocates once for each object.
type scratch []byte

func (s *scratch) Allocate(n uint64) []byte {
	*s = make([]byte, n)
	return *s
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == nil {
		return 0, io.ErrClosedPipe
	}
	return b.left.Read(p)
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.bytes)
	b.left = nil
	return nil
}
