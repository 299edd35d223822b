package knative

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/eventingtest"
)

// suiteNamespace is the namespace of the suite.
const suiteNamespace = "selvedge-suite"

// live is the cluster's multi-tenant broker over its in-memory channel.
type live struct {
	// api is the API server and ingress the broker's, from here.
	api, ingress string
}

// Ingress implements eventingtest.Broker.
func (b *live) Ingress(name string) string { return b.ingress + "/" + suiteNamespace + "/" + name }

// The collections that the suite works with.
const (
	triggersPath      = "/apis/eventing.knative.dev/v1/namespaces/" + suiteNamespace + "/triggers"
	subscriptionsPath = "/apis/messaging.knative.dev/v1/namespaces/" + suiteNamespace + "/subscriptions"
	channelPath       = "/apis/messaging.knative.dev/v1/namespaces/" + suiteNamespace + "/inmemorychannels/default-kne-trigger"
)

// object is what the suite reads of an object.
type object struct {
	Metadata struct {
		Name            string
		UID             string
		Generation      int64
		OwnerReferences []struct{ UID string }
	}
	Spec struct {
		Subscriber struct{ URI string }
	}
	Status struct {
		ObservedGeneration int64
		SubscriberURI      string
		Conditions         []struct{ Type, Status, Message string }
		Subscribers        []struct{ UID, Ready string }
	}
	Items []object
}

// ready reports whether the object's controllers have done what it asks for.
func (o *object) ready() bool {
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True" && o.Status.ObservedGeneration == o.Metadata.Generation
		}
	}
	return false
}

// call calls the API server, and returns the status of an answer that is no object.
func (b *live) call(ctx context.Context, method, path string, body []byte, into *object) (int, error) {
	r, err := http.NewRequestWithContext(ctx, method, b.api+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/apply-patch+yaml")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return 0, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return resp.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if into != nil {
		*into = object{}
		err = json.Unmarshal(text, into)
	}
	return resp.StatusCode, err
}

// propagation is how long the programs of the broker may take, at most, to see what
// its controllers have done: they watch the same objects, and nothing tells that
// they have.
const propagation = 300 * time.Millisecond

// until asks until it is so.
func until(ctx context.Context, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := so(); ok || err != nil {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not become so: %w", ctx.Err())
		case <-tick.C:
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(propagation):
		return nil
	}
}

// Apply implements eventingtest.Broker.
func (b *live) Apply(ctx context.Context, manifest []byte) error {
	var o object
	if err := json.Unmarshal(manifest, &o); err != nil {
		return err
	}
	path := triggersPath + "/" + o.Metadata.Name
	want := o.Spec.Subscriber.URI
	// A webhook that restarts is no refusal.
	deadline := time.Now().Add(webhooks)
	for {
		status, err := b.call(ctx, http.MethodPatch, path+"?fieldManager=suite&force=true", manifest, &o)
		if err == nil {
			break
		}
		if status != http.StatusInternalServerError || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return until(ctx, func() (bool, error) {
		_, err := b.call(ctx, http.MethodGet, path, nil, &o)
		return o.ready() && o.Status.SubscriberURI == want, err
	})
}

// Delete implements eventingtest.Broker. It returns once the channel has done with
// the trigger too.
func (b *live) Delete(ctx context.Context, name string) error {
	var o, all, channel object
	if _, err := b.call(ctx, http.MethodGet, triggersPath+"/"+name, nil, &o); err != nil {
		return err
	}
	if _, err := b.call(ctx, http.MethodDelete, triggersPath+"/"+name, nil, nil); err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		if _, err := b.call(ctx, http.MethodGet, subscriptionsPath, nil, &all); err != nil {
			return false, err
		}
		for _, s := range all.Items {
			for _, owner := range s.Metadata.OwnerReferences {
				if owner.UID == o.Metadata.UID {
					return false, nil
				}
			}
		}
		_, err := b.call(ctx, http.MethodGet, channelPath, nil, &channel)
		return len(channel.Status.Subscribers) == len(all.Items), err
	})
}

// TestSuite_OnTheCluster runs the suite of our broker against the cluster's own: each
// case must hold there too, and each difference must be one, or one of
// eventingtest.ClusterDifferences.
func TestSuite_OnTheCluster(t *testing.T) {
	c := theCluster(t)
	if c.host == "" {
		t.Skip("HOST is not set: the cluster would not find the subscribers of the suite")
	}
	s := newShell(t, "KUBECONFIG="+c.kubeconfig)
	s.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + suiteNamespace + "}\n---\n" +
		"apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default, namespace: " + suiteNamespace + "}\n")
	t.Cleanup(func() { s.kubectl("delete", "namespace", suiteNamespace, "--wait=false") })
	s.kubectl("wait", "--namespace="+suiteNamespace, "--for=condition=Ready", "brokers/default", "--timeout=2m")
	api := s.background("Starting to serve on ", "proxy", "--port=0")
	// The API server leads to the ingress: kubectl's forwarding of ports breaks some of
	// the connections when many are opened at once.
	b := &live{api: api, ingress: api + "/api/v1/namespaces/knative-eventing/services/broker-ingress:80/proxy"}
	require.NoError(t, until(t.Context(), func() (bool, error) { return true, nil }))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(client.CloseIdleConnections)
	eventingtest.Run(t, eventingtest.Options{
		Broker: b, Namespace: suiteNamespace, Knative: true, Cluster: true, Client: client, Listen: c.host + ":0",
		Quiet: 500 * time.Millisecond, Patience: time.Minute,
	})
}
