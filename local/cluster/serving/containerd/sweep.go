package containerd

import (
	"context"
	"log/slog"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
)

// The numbers of signals, which the API has as such.
const (
	sigTerm = 15
	sigKill = 9
)

// sweep ends the containers that a platform of the same owner left behind.
func (r *Runner) sweep(ctx context.Context) error {
	list, err := r.client.containers.List(ctx, &containersapi.ListContainersRequest{Filters: ownedBy(r.o.Owner)})
	if err != nil {
		return failed("list containers", err)
	}
	for _, c := range list.GetContainers() {
		r.o.Logger.Info("a container was left behind and is removed", slog.String("container", c.GetID()))
		r.abandon(ctx, c)
		if err := r.remove(ctx, c.GetID()); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a container with its processes and files, as far as they are
// there.
func (r *Runner) remove(ctx context.Context, id string) error {
	c := r.client
	_, err := c.tasks.Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: id})
	if err != nil && !missing(err) { // it runs
		if _, err := c.tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: id, Signal: sigKill, All: true}); err != nil && !missing(err) {
			return failed("kill "+id, err)
		}
		if _, err := c.tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: id}); err != nil && !missing(err) {
			return failed("wait for "+id, err)
		}
		if _, err := c.tasks.Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: id}); err != nil && !missing(err) {
			return failed("delete the task "+id, err)
		}
	}
	if _, err := c.containers.Delete(ctx, &containersapi.DeleteContainerRequest{ID: id}); err != nil && !missing(err) {
		return failed("delete "+id, err)
	}
	if _, err := c.snapshots.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Snapshotter: c.snapshotter, Key: id}); err != nil && !missing(err) {
		return failed("remove the files of "+id, err)
	}
	return nil
}
