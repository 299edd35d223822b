package serving

import (
	"context"
	"fmt"
	"time"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/pool"
	"selvedge.dev/local/cluster/serving/spec"
)

// showPod writes what an instance does.
func (s *Serving) showPod(ctx context.Context, deployment object.Object, u *unit, i pool.InstanceState) error {
	at := named{u.at.namespace, i.Name}
	o, err := s.get(spec.Pod, at)
	if err != nil {
		return err
	}
	if o == nil {
		o = s.store.Kind(spec.Pod).New(at.namespace, at.name)
		o.OwnedBy(deployment)
		o.Set(deployment.Get("spec", "template", "metadata", "labels"), "metadata", "labels")
		o.Set(u.spec.Containers[0].Name, "metadata", "annotations", "kubectl.kubernetes.io/default-container")
		template, _ := deployment.Clone().Get("spec", "template", "spec").(map[string]any)
		o["spec"] = template
		o.Set("selvedge", "spec", "nodeName")
	}
	ready := no
	if i.Phase == pool.Ready && !i.Draining {
		ready = yes
	}
	state, phase := containerState(i)
	container := map[string]any{
		"name": u.spec.Containers[0].Name, "image": u.image, "imageID": u.image,
		"ready": ready == yes, "started": !i.Began.IsZero(), "restartCount": number(int64(i.Restarts)), "state": state,
	}
	if i.Last.Reason != "" {
		container["lastState"] = map[string]any{"terminated": terminated(i.Last)}
	}
	before := o.Clone()
	o["status"] = map[string]any{
		"phase": phase, "hostIP": "127.0.0.1", "podIP": "127.0.0.1", "startTime": object.Time(i.Created), "containerStatuses": []any{container},
	}
	if list := before.Get("status", "conditions"); list != nil {
		o.Set(list, "status", "conditions")
	}
	o.SetConditions(s.o.Now(), object.Condition{Type: "PodScheduled", Status: yes}, object.Condition{Type: "Initialized", Status: yes},
		object.Condition{Type: "ContainersReady", Status: ready}, object.Condition{Type: "Ready", Status: ready})
	_, err = s.write(ctx, o)
	return err
}

// containerState is the state of the one container of an instance, and the
// phase of its pod.
func containerState(i pool.InstanceState) (state map[string]any, phase string) {
	switch {
	case i.Phase == pool.BackOff && i.Last.Exited:
		return waiting("CrashLoopBackOff", fmt.Sprintf("%s: %s", i.Last.Reason, i.Last.Message)), "Running"
	case i.Phase == pool.BackOff:
		return waiting(i.Last.Reason, i.Last.Message), "Pending"
	case i.Began.IsZero():
		return waiting("ContainerCreating", ""), "Pending"
	}
	return map[string]any{"running": map[string]any{"startedAt": object.Time(i.Began)}}, "Running"
}

// waiting is the state of a container that does not run.
func waiting(reason, message string) map[string]any {
	w := map[string]any{"reason": reason}
	if message != "" {
		w["message"] = message
	}
	return map[string]any{"waiting": w}
}

// terminated is how a process ended.
func terminated(f pool.Failure) map[string]any {
	reason := "Error"
	if f.Reason == "OOMKilled" {
		reason = f.Reason
	}
	out := map[string]any{"exitCode": number(int64(f.Code)), "reason": reason, "message": f.Message}
	for field, t := range map[string]time.Time{"startedAt": f.Began, "finishedAt": f.Ended} {
		if !t.IsZero() {
			out[field] = object.Time(t)
		}
	}
	return out
}
