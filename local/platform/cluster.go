package platform

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"selvedge.dev/local/cluster/eventing"
	"selvedge.dev/local/cluster/kubeapi"
	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/gateway"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/triggers/broker"
	"selvedge.dev/triggers/delivery"
)

// sealKeyFile is the key that secrets are encrypted with, in the data folder.
const sealKeyFile = "seal.key"

// clusterKinds are the kinds of the cluster's objects.
func clusterKinds() []*object.Kind {
	return slices.Concat(kubeapi.CoreKinds(), spec.Kinds(), eventing.Kinds())
}

// clusterPermissions are those of the cluster's doors.
func clusterPermissions() []string {
	return append(kubeapi.Permissions(clusterKinds()), invokeService, pullImages, pushImages)
}

// openCluster opens the objects of the cluster that this machine is.
func (p *Platform) openCluster(ctx context.Context) error {
	seal, err := sealKey(filepath.Join(p.config.Data, sealKeyFile))
	if err != nil {
		return fmt.Errorf("the key that secrets are sealed with: %w", err)
	}
	if p.objects, err = object.Open(ctx, p.db, clusterKinds(), object.Options{Seal: seal}); err != nil {
		return err
	}
	return p.openFunctions(ctx)
}

// openEventing sets the triggers of projects in the open broker.
func (p *Platform) openEventing(ctx context.Context) error {
	p.eventing = eventing.New(eventing.Options{
		Store: p.objects, Triggers: p.broker, Service: p.serving.Sink, Client: eventing.NewClient(p.config.LocalSubscribers),
		Publisher: func(project, name string) delivery.Sink { return otherBroker{p.broker, project, name} },
		URL:       p.publicURL, Logger: p.log,
	})
	return p.eventing.Open(ctx)
}

// otherBroker is a broker of a project as the subscriber of a trigger of
// another one.
type otherBroker struct {
	broker        *broker.Broker
	project, name string
}

// Deliver publishes the event there.
func (o otherBroker) Deliver(ctx context.Context, e event.Event) delivery.Result {
	e.SetExtension(event.Broker, nil)
	if o.name != broker.DefaultBroker {
		e.SetExtension(event.Broker, o.name)
	}
	e.SetExtension(event.Project, o.project)
	if _, err := o.broker.Publish(ctx, []event.Event{e}); err != nil {
		return delivery.Result{Status: fault.KindOf(err).EventStatus(), Err: err}
	}
	return delivery.Result{Status: http.StatusAccepted}
}

// sealKey reads the key in a file, or makes one.
func sealKey(path string) (cipher.AEAD, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // it never fails
		err = writeOnce(path, key)
	}
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cipher.NewGCM(block)
}

// writeOnce writes a file that only its owner reads, whole or not at all.
func writeOnce(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// kubernetes is the API of the cluster.
func (p *Platform) kubernetes() *kubeapi.Server {
	return kubeapi.New(kubeapi.Options{
		Store: p.objects, Authorize: p.access.Authorize, Who: whoIs, Namespaces: p.projects,
		Logs: p.podLogs, Leave: gateway.Leave, Logger: p.log,
	})
}

// whoIs is the caller, for `kubectl auth whoami`.
func whoIs(ctx context.Context) (string, []string) {
	if m := iam.PrincipalOf(ctx).Member(); m != "" {
		return m, []string{"system:authenticated"}
	}
	return "system:anonymous", []string{"system:unauthenticated"}
}

// projects are those that the caller sees as namespaces: its own, and for an
// administrator those that have objects.
func (p *Platform) projects(ctx context.Context) ([]string, error) {
	switch who := iam.PrincipalOf(ctx); {
	case who.Project != "":
		return []string{who.Project}, nil
	case who.Kind == iam.Admin:
		return append(p.objects.Namespaces(), "default"), nil
	case who.Kind == iam.Anonymous:
		return nil, &fault.Error{Op: "platform.projects", Kind: fault.Unauthenticated, Err: errors.New("namespaces are shown to who has credentials")}
	}
	return nil, nil
}
