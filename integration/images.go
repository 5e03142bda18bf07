package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/testcontainers/testcontainers-go"
)

// images are the names of the images that a run has built.
type images struct{ nats, worker string }

// workerFlags are more flags for the build of the worker.
var workerFlags []string

// dockerfile is for both images. The user, by custom nobody's, owns /data, and so owns a
// volume that is mounted there for the first time.
const dockerfile = `FROM scratch
COPY --chown=65532:65532 data /data
COPY program /program
USER 65532:65532
ENTRYPOINT ["/program"]
`

// buildImages builds both images. dir is a scratch directory.
func buildImages(ctx context.Context, e *engine, dir string) (built images, err error) {
	// Each is built in the module that pins its dependencies.
	if built.nats, err = buildImage(ctx, e, filepath.Join(dir, "nats"), ".", "github.com/nats-io/nats-server/v2"); err != nil {
		return images{}, err
	}
	if built.worker, err = buildImage(ctx, e, filepath.Join(dir, "worker"), "..", "./cmd/worker", workerFlags...); err != nil {
		return images{}, err
	}
	return built, nil
}

// buildImage puts a program of a module into an image. dir is the build context.
func buildImage(ctx context.Context, e *engine, dir, module, program string, flags ...string) (string, error) {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		return "", err
	}
	// Without cgo the binary is static, and needs no libc.
	arguments := append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "program")}, flags...)
	compile := exec.CommandContext(ctx, "go", append(arguments, program)...)
	compile.Dir = module
	compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if output, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", program, err, output)
	}
	name, err := e.provider.BuildImage(ctx, &testcontainers.ContainerRequest{
		FromDockerfile: testcontainers.FromDockerfile{
			Context: dir,
			Repo:    "credbus-integration-" + filepath.Base(dir),
			Tag:     e.run,
		},
		Labels: map[string]string{runLabel: e.run},
	})
	if err != nil {
		return "", fmt.Errorf("image of %s: %w", program, err)
	}
	return name, nil
}
