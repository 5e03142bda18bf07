package deployment

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/subjects"
)

// Config holds a Keeper's parts and settings.
type Config struct {
	Conn     *nats.Conn      // required
	Prefix   subjects.Prefix // required
	Stream   string          // name of the stream that holds the record; required
	Replicas int             // copies of the stream; default 1
	// Alone reports whether no other worker runs. Required.
	Alone func(context.Context) bool
	// Change lets Join replace a record that differs, if no other worker runs.
	Change bool
	Logger *slog.Logger // default slog.Default()
}

// Keeper reads and writes the record of a deployment.
type Keeper struct {
	config Config
	js     jetstream.JetStream
	stream jetstream.Stream
	joined *Record // what Join returned
}

// New creates the stream of the record if it is missing.
func New(ctx context.Context, config Config) (*Keeper, error) {
	if config.Conn == nil || config.Prefix == "" || config.Stream == "" || config.Alone == nil {
		return nil, errors.New("deployment: Conn, Prefix, Stream and Alone are required")
	}
	if config.Replicas == 0 {
		config.Replicas = 1
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	k := &Keeper{config: config}
	var err error
	if k.js, err = jetstream.New(config.Conn); err != nil {
		return nil, err
	}
	k.stream, err = k.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up stream %s, which holds what all workers agree on (stream.name, stream.replicas): %w", config.Stream, err)
	}
	return k, nil
}

func (k *Keeper) subject() string { return recordSubject(k.config.Prefix) }

func recordSubject(prefix subjects.Prefix) string { return prefix.Coherence("deployment") }

// Spec describes the stream of the record to JetStream. It needs no Conn.
func (c Config) Spec() jsapi.Spec {
	return jsapi.Spec{
		Config: jetstream.StreamConfig{
			Name:              c.Stream,
			Description:       "credbus: what all workers of the deployment agree on",
			Subjects:          []string{recordSubject(c.Prefix)},
			MaxMsgsPerSubject: 1,
			MaxBytes:          2 * maxRecord,
			Storage:           jetstream.FileStorage,
			Replicas:          cmp.Or(c.Replicas, 1),
		},
		Owner:   string(c.Prefix),
		Setting: "stream.name",
		Logger:  c.Logger,
	}
}

func (k *Keeper) open(ctx context.Context) (jetstream.Stream, error) {
	return jsapi.Ensure(ctx, k.js, k.config.Spec())
}

// Mismatch is the error of a worker that does not fit its deployment.
type Mismatch struct {
	ID          string // of the deployment
	Differences []Difference
	Running     bool // other workers run, so the record cannot be changed
}

func (m *Mismatch) Error() string {
	lines := make([]string, 0, len(m.Differences)+2)
	lines = append(lines, fmt.Sprintf("this worker does not fit deployment %s, whose workers must agree on where credentials are kept and what seals them:", m.ID))
	for _, d := range m.Differences {
		lines = append(lines, "  "+d.String())
	}
	switch {
	case m.Running:
		lines = append(lines, "use the settings of the other workers; or, to change the deployment, stop all of them first and start this one with --deployment.change")
	default:
		lines = append(lines, "use the settings of the other workers; or, to change the deployment, start the first worker once with --deployment.change (CREDBUS_DEPLOYMENT_CHANGE) while no other runs; this copies no credentials: credbus migrate does")
	}
	return strings.Join(lines, "\n")
}

// maxTries bounds how often a change is tried again because another worker was
// faster.
const maxTries = 10

var errBusy = errors.New("record what all workers agree on: other workers kept changing the record; start this worker again")

// Join returns the record that this worker agrees with. If there is none, Join writes
// own as the record. A worker that agrees may know more: Join adds that to the record.
// A worker that differs gets a *Mismatch. Call Join before this worker runs its
// replica: otherwise Alone would find it.
func (k *Keeper) Join(ctx context.Context, own Record) (*Record, error) {
	for range maxTries {
		record, seq, err := k.read(ctx)
		if err != nil {
			return nil, err
		}
		next, err := k.next(ctx, record, &own)
		switch {
		case err != nil:
			return nil, err
		case next == nil:
			k.joined = record
			return record, nil
		}
		switch err := k.write(ctx, next, seq); {
		case err == nil:
			k.joined = next
			return next, nil
		case !isWrongSequence(err):
			return nil, fmt.Errorf("record what all workers agree on: %w", err)
		}
	}
	return nil, errBusy
}

// Foresee returns the *Mismatch that Join would return. It needs less than Join, so that
// nothing must be created first: a nil Keys in own stands for unknown keys, and an empty
// Identity of a store for an unknown one.
func (k *Keeper) Foresee(ctx context.Context, own Record) error {
	record, _, err := k.read(ctx)
	if err != nil || record == nil {
		return err
	}
	if own.Keys == nil {
		own.Keys = record.Keys
	}
	_, err = k.mismatch(ctx, record, &own)
	return err
}

// next returns the record after own has joined, nil if the record stays unchanged.
func (k *Keeper) next(ctx context.Context, record, own *Record) (*Record, error) {
	if record == nil {
		first := *own
		first.ID = strings.ToLower(rand.Text())
		return &first, nil
	}
	differ, err := k.mismatch(ctx, record, own)
	if err != nil {
		return nil, err
	}
	if len(differ) == 0 {
		merged := record.merged(own)
		if same(merged, record) {
			return nil, nil
		}
		return merged, nil
	}
	if !allFleeting(differ) {
		k.config.Logger.Warn("deployment.change: the deployment now has the settings of this worker", "deployment", record.ID, "differences", differ)
	}
	changed := *own
	changed.ID = record.ID
	return &changed, nil
}

// mismatch returns how own differs from the record. It returns an error if this worker
// must not change the record.
func (k *Keeper) mismatch(ctx context.Context, record, own *Record) ([]Difference, error) {
	differ := record.differences(own)
	if len(differ) == 0 {
		return nil, nil
	}
	mismatch := &Mismatch{ID: record.ID, Differences: differ}
	fleeting := allFleeting(differ)
	if !fleeting && !k.config.Change {
		return nil, mismatch
	}
	if !k.config.Alone(ctx) {
		mismatch.Running = true
		return nil, mismatch
	}
	return differ, nil
}

func allFleeting(differ []Difference) bool {
	return !slices.ContainsFunc(differ, func(d Difference) bool { return !d.fleeting })
}

// Check returns a *Mismatch if own no longer agrees with the record. It adds to the
// record what own knows besides. If the record is gone, Check writes the one that Join
// returned.
func (k *Keeper) Check(ctx context.Context, own Record) error {
	for range maxTries {
		record, seq, err := k.read(ctx)
		if err != nil {
			return err
		}
		if record == nil {
			k.config.Logger.Error("the record of the deployment is gone; writing it again", "stream", k.config.Stream)
			record = k.joined
		}
		if differ := record.differences(&own); len(differ) > 0 {
			return &Mismatch{ID: record.ID, Differences: differ, Running: true}
		}
		merged := record.merged(&own)
		if seq != 0 && same(merged, record) {
			return nil
		}
		if err := k.write(ctx, merged, seq); !isWrongSequence(err) {
			return err
		}
	}
	return errBusy
}

// read returns the record and its place in the stream, nil and 0 if there is no record.
func (k *Keeper) read(ctx context.Context) (*Record, uint64, error) {
	msg, err := jsapi.Ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return k.stream.GetLastMsgForSubject(ctx, k.subject())
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, 0, nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if k.stream, err = k.open(ctx); err != nil {
			return nil, 0, err
		}
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("read what all workers agree on (stream %s): %w", k.config.Stream, err)
	}
	record, err := decode(msg.Data)
	return record, msg.Sequence, err
}

func (k *Keeper) write(ctx context.Context, record *Record, after uint64) error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if len(body) > maxRecord {
		return fmt.Errorf("the record takes %d bytes, at most %d are allowed: use fewer routes", len(body), maxRecord)
	}
	_, err = k.js.Publish(ctx, k.subject(), body, jetstream.WithExpectStream(k.config.Stream), jetstream.WithExpectLastSequencePerSubject(after))
	return err
}

func same(a, b *Record) bool {
	one, errOne := json.Marshal(a)
	other, errOther := json.Marshal(b)
	return errOne == nil && errOther == nil && string(one) == string(other)
}

func isWrongSequence(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) &&
		(refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
