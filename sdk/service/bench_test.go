package service_test

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/store"
)

// discard is a driver that says it did what it is asked to and does nothing: a
// benchmark over it measures everything else.
type discard struct {
	store.Driver
	seq store.Seq
}

// Commit implements store.Driver.
func (d *discard) Commit(_ context.Context, b *store.Batch) (store.Seq, error) {
	for _, w := range b.Writes {
		d.seq++
		if w.After != nil {
			w.After.Version = d.seq
		}
	}
	return d.seq, nil
}

// usual is a robot as most are.
func usual() *samplev1.Robot {
	return &samplev1.Robot{
		DisplayName: "a robot",
		Spec: &samplev1.RobotSpec{
			Color: "red", Power: 7, Parts: []*samplev1.Part{{Serial: "a", Count: 1}, {Serial: "b", Count: 2}},
			Aliases: []*samplev1.Alias{{Network: "n", Key: "esn", Value: "5551212"}},
		},
		State: &samplev1.RobotState{Battery: 0.5, Phase: samplev1.RobotState_BUSY},
	}
}

// BenchmarkGet is a Get that the cache answers.
func BenchmarkGet(b *testing.B) {
	w := newWorld(b, nil)
	w.robot("r", usual())
	m := w.method(getRobot)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Call(w.ctx, m, &samplev1.GetRobotRequest{Name: "projects/p/robots/r"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreate is a Create but for the database.
func BenchmarkCreate(b *testing.B) {
	for _, id := range []string{"", "request_id"} {
		b.Run("with "+id, func(b *testing.B) {
			w := newWorld(b, nil)
			w.driver.Driver = &discard{Driver: w.driver.Driver, seq: 100}
			m := w.method(createRobot)
			robot := usual()
			b.ReportAllocs()
			for b.Loop() {
				req := &samplev1.CreateRobotRequest{Parent: "projects/p", Robot: proto.CloneOf(robot), RequestId: id}
				if _, err := w.Call(w.ctx, m, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUpdate is an Update of one field but for the database.
func BenchmarkUpdate(b *testing.B) {
	w := newWorld(b, nil)
	w.robot("r", usual())
	w.driver.Driver = &discard{Driver: w.driver.Driver, seq: 100}
	m := w.method(updateRobot)
	b.ReportAllocs()
	for b.Loop() {
		req := &samplev1.UpdateRobotRequest{Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: "b"}, UpdateMask: mask("display_name")}
		if _, err := w.Call(w.ctx, m, req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList is a page of 50 but for the database.
func BenchmarkList(b *testing.B) {
	w := newWorld(b, nil)
	for range 50 {
		r := usual()
		r.Spec.Aliases = nil // no two robots have the same
		w.robot("", r)
	}
	m := w.method(listRobots)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Call(w.ctx, m, &samplev1.ListRobotsRequest{Parent: "projects/p"}); err != nil {
			b.Fatal(err)
		}
	}
}
