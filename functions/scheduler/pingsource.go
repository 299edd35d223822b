package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"sigs.k8s.io/yaml"

	schedulerv1 "selvedge.dev/functions/scheduler/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// pingSource is a PingSource as it is written.
type pingSource struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Schedule    string `json:"schedule"`
		Timezone    string `json:"timezone"`
		ContentType string `json:"contentType"`
		Data        string `json:"data"`
		DataBase64  []byte `json:"dataBase64"`
		Sink        *struct {
			Ref *struct {
				APIVersion string `json:"apiVersion"`
				Kind       string `json:"kind"`
				Name       string `json:"name"`
				Namespace  string `json:"namespace"`
			} `json:"ref"`
		} `json:"sink"`
		CloudEventOverrides struct {
			Extensions map[string]string `json:"extensions"`
		} `json:"ceOverrides"`
	} `json:"spec"`
}

// badPing is the fault of a PingSource.
func badPing(field string, err error) error {
	return &fault.Error{Op: "scheduler.PingSource", Kind: fault.Invalid, Reason: "INVALID_PING_SOURCE", Field: field, Err: err}
}

// ReadPingSource reads a PingSource of Knative as the timer of a project,
// "projects/P". Its events are those that Knative makes of it, and its sink is
// the broker: another is refused.
func ReadPingSource(project, manifest string) (*schedulerv1.Timer, error) {
	var p pingSource
	if err := yaml.UnmarshalStrict([]byte(manifest), &p); err != nil {
		return nil, badPing("manifest", err)
	}
	if p.Kind != "PingSource" || !strings.HasPrefix(p.APIVersion, "sources.knative.dev/") {
		return nil, badPing("manifest.kind", fmt.Errorf("%s %s is no PingSource of sources.knative.dev", p.APIVersion, p.Kind))
	}
	if s := p.Spec.Sink; s != nil && (s.Ref == nil || s.Ref.Kind != "Broker") {
		return nil, badPing("manifest.spec.sink", errors.New("timers post to the broker, and to no other sink"))
	}
	if p.Spec.Data != "" && p.Spec.DataBase64 != nil {
		return nil, badPing("manifest.spec.dataBase64", errors.New("data and dataBase64 exclude each other"))
	}
	namespace, id := p.Metadata.Namespace, p.Metadata.Name
	if namespace == "" {
		namespace = "default"
	} else if namespace != "default" {
		id = namespace + "." + id
	}
	t := &schedulerv1.Timer{
		Name: project + "/timers/" + id,
		Event: &schedulerv1.TimerEvent{
			Type: schedulerv1.TypePing, DataContentType: p.Spec.ContentType, Extensions: p.Spec.CloudEventOverrides.Extensions,
			PingSource: "/apis/v1/namespaces/" + namespace + "/pingsources/" + p.Metadata.Name,
		},
	}
	switch {
	case p.Spec.Data != "":
		t.Event.Content = &schedulerv1.TimerEvent_Data{Data: p.Spec.Data}
	case p.Spec.DataBase64 != nil:
		t.Event.Content = &schedulerv1.TimerEvent_DataBase64{DataBase64: p.Spec.DataBase64}
	}
	return t, p.schedule(t)
}

// schedule gives the timer the schedule of the PingSource.
func (p *pingSource) schedule(t *schedulerv1.Timer) error {
	if every, ok := strings.CutPrefix(p.Spec.Schedule, "@every "); ok {
		d, err := time.ParseDuration(strings.TrimSpace(every))
		if err != nil {
			return badPing("manifest.spec.schedule", err)
		}
		t.Schedule = &schedulerv1.Timer_Interval{Interval: &schedulerv1.Interval{Period: durationpb.New(d)}}
		return nil
	}
	if p.Spec.Timezone != "" && strings.Contains(p.Spec.Schedule, "TZ=") {
		return badPing("manifest.spec.timezone", errors.New("the schedule says a time zone too"))
	}
	t.Schedule = &schedulerv1.Timer_Cron{Cron: &schedulerv1.Cron{Expression: p.Spec.Schedule, TimeZone: p.Spec.Timezone}}
	return nil
}

// applyPingSource answers ApplyPingSource, in its transaction.
func (s *Service) applyPingSource(ctx context.Context, req *schedulerv1.ApplyPingSourceRequest) (*schedulerv1.Timer, error) {
	t, err := ReadPingSource(req.GetParent(), req.GetManifest())
	if err != nil {
		return nil, err
	}
	name, err := s.timer.Parse(t.GetName())
	if err != nil {
		return nil, badPing("manifest.metadata.name", err)
	}
	old, err := s.read(ctx, resource.Name(name))
	if err != nil {
		return nil, err
	}
	if old != nil {
		fresh := proto.CloneOf(old)
		fresh.Schedule, fresh.Event = t.GetSchedule(), t.GetEvent()
		t = fresh
	}
	if err := s.validate(ctx, old, t); err != nil {
		return nil, err
	}
	return t, s.store.Save(ctx, t, store.SaveOptions{})
}
