package fieldmask_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fieldmask"
	"selvedge.dev/sdk/fieldpath"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// usual is a robot of a usual size.
func usual() *samplev1.Robot {
	return &samplev1.Robot{
		Name: "projects/p/robots/r",
		Metadata: &resourcev1.Metadata{
			CreateTime: timestamppb.Now(), UpdateTime: timestamppb.Now(), Uid: "0198f0e5", Generation: 3, ResourceVersion: "17",
			Labels: map[string]string{"site": "a", "floor": "2", "team": "x"}, Tags: []string{"blue", "fast"},
			Syncing: &resourcev1.Syncing{OwningRegion: "west", Regions: []string{"west", "east"}},
		},
		DisplayName: "Robot",
		Spec: &samplev1.RobotSpec{
			Model: "projects/p/models/m", Power: 3.5, Color: "red", Armed: true, UptimeGoal: durationpb.New(1e9),
			Parts:  []*samplev1.Part{{Serial: "1"}, {Serial: "2", Note: "n"}},
			Spares: map[string]*samplev1.Part{"a": {Serial: "3"}, "b": {Serial: "4"}},
		},
		State: &samplev1.RobotState{Phase: samplev1.RobotState_BUSY, Battery: 0.5, SeenTime: timestamppb.Now()},
	}
}

// compiled is a mask that the benchmarks use.
func compiled(b *testing.B, paths ...string) fieldmask.Mask {
	b.Helper()
	k, err := fieldmask.Parse(robotType, &fieldmaskpb.FieldMask{Paths: paths})
	if err != nil {
		b.Fatal(err)
	}
	return k
}

func BenchmarkParse_3Paths(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		compiled(b, "name", "spec.power", "state.phase")
	}
}

func BenchmarkProject_3Paths(b *testing.B) {
	k, m := compiled(b, "name", "spec.power", "state.phase"), usual()
	b.ReportAllocs()
	for b.Loop() {
		fieldmask.Project(k, m)
	}
}

func BenchmarkProject_MapsAndLists(b *testing.B) {
	k, m := compiled(b, "metadata.labels.site", "spec.parts.serial", "spec.spares.*.serial"), usual()
	b.ReportAllocs()
	for b.Loop() {
		fieldmask.Project(k, m)
	}
}

func BenchmarkProject_Everything(b *testing.B) {
	m := usual()
	b.ReportAllocs()
	for b.Loop() {
		fieldmask.Project(fieldmask.Mask{}, m)
	}
}

func BenchmarkMerge_3Paths(b *testing.B) {
	k, dst, m := compiled(b, "name", "spec.power", "state.phase"), usual(), usual()
	b.ReportAllocs()
	for b.Loop() {
		if err := fieldmask.Merge(k, dst, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMerge_Implied(b *testing.B) {
	dst, m := usual(), usual()
	b.ReportAllocs()
	for b.Loop() {
		if err := fieldmask.Merge(fieldmask.Mask{}, dst, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDiff_Equal(b *testing.B) {
	x := usual()
	y := proto.CloneOf(x)
	b.ReportAllocs()
	for b.Loop() {
		fieldmask.Diff(x, y)
	}
}

func BenchmarkRedact_Nothing(b *testing.B) {
	m := usual()
	var secrets []fieldpath.Path
	for _, s := range []string{"spec.pin", "state.token"} {
		p, err := fieldpath.Parse(robotType, s)
		if err != nil {
			b.Fatal(err)
		}
		secrets = append(secrets, p)
	}
	b.ReportAllocs()
	for b.Loop() {
		fieldmask.Redact(m, secrets)
	}
}
