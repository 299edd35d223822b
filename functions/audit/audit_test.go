package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	auditv1 "selvedge.dev/functions/audit/v1"
	"selvedge.dev/sdk/fault"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
)

// The methods that the tests call most.
const (
	createRobot = "sample.v1.RobotService.CreateRobot"
	updateRobot = "sample.v1.RobotService.UpdateRobot"
	deleteRobot = "sample.v1.RobotService.DeleteRobot"
	getRobot    = "sample.v1.RobotService.GetRobot"
	activities  = "audit.v1.AuditLogs.ListActivityLogs"
	changes     = "audit.v1.AuditLogs.ListResourceChangeLogs"
	history     = "audit.v1.AuditLogs.GetResourceHistory"
)

// paint gives a robot a color.
func (w *world) paint(by, project, id, color string) {
	w.t.Helper()
	do[*samplev1.Robot](as(by), w, updateRobot, &samplev1.UpdateRobotRequest{
		Robot:      &samplev1.Robot{Name: "projects/" + project + "/robots/" + id, Spec: &samplev1.RobotSpec{Color: color}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"spec.color"}}, AllowMissing: true,
	})
}

func TestHistory_WhoChangedItAndWhatItWasBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paint("projects/p", "p", "r", "red")
	w.paint("admin", "p", "r", "blue")
	w.paint("admin", "p", "other", "blue")
	do[*samplev1.Robot](as("projects/p"), w, updateRobot, &samplev1.UpdateRobotRequest{
		Robot: &samplev1.Robot{Name: "projects/p/robots/r", DisplayName: "R"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
	})
	do[*resourcev1.DeletionPlan](as("admin"), w, deleteRobot, &samplev1.DeleteRobotRequest{Name: "projects/p/robots/r"})
	require.NoError(t, w.hand())

	req := &auditv1.GetResourceHistoryRequest{Parent: "projects/p", Resource: "projects/p/robots/r"}
	all := do[*auditv1.GetResourceHistoryResponse](as("projects/p"), w, history, req).GetChanges()
	require.Len(t, all, 4)
	var got []string
	for _, c := range all {
		got = append(got, fmt.Sprint(c.GetVerb(), " ", c.GetPrincipal(), " ", c.GetPrevious().AsMap()["spec"], " ", c.GetCurrent().AsMap()["spec"]))
	}
	require.Equal(t, []string{
		"DELETED admin map[color:blue] <nil>",
		"UPDATED projects/p <nil> <nil>",
		"UPDATED admin map[color:red] map[color:blue]",
		"CREATED projects/p <nil> map[color:red]",
	}, got)
	require.Equal(t, "selvedge.sample.v1.RobotService.UpdateRobot", all[2].GetMethod())

	// Page by page, and of one field alone.
	req.PageSize = 1
	var paged []*resourcev1.ResourceChangeLog
	for {
		page := do[*auditv1.GetResourceHistoryResponse](as("projects/p"), w, history, req)
		paged = append(paged, page.GetChanges()...)
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	require.Len(t, paged, 4)
	for i := range paged {
		require.Equal(t, all[i].GetId(), paged[i].GetId())
	}
	req = &auditv1.GetResourceHistoryRequest{Parent: "projects/p", Resource: "projects/p/robots/r", Path: "spec.color"}
	colors := do[*auditv1.GetResourceHistoryResponse](as("projects/p"), w, history, req).GetChanges()
	require.Len(t, colors, 3, "the name is not the color")
}

func TestLogs_FilteredAndPaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 7 {
		w.paint("projects/p", "p", fmt.Sprint("r", i), "red")
	}
	_, err := w.try(as("projects/q"), getRobot, &samplev1.GetRobotRequest{Name: "projects/p/robots/r1"})
	require.Equal(t, fault.Denied, fault.KindOf(err))
	require.NoError(t, w.hand())

	list := func(text string) []*resourcev1.ActivityLog {
		t.Helper()
		req := &auditv1.ListActivityLogsRequest{Parent: "projects/p", Filter: text, PageSize: 3}
		var all []*resourcev1.ActivityLog
		for {
			page := do[*auditv1.ListActivityLogsResponse](w.ctx, w, activities, req)
			require.LessOrEqual(t, len(page.GetActivityLogs()), 3)
			all = append(all, page.GetActivityLogs()...)
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				return all
			}
		}
	}
	require.Len(t, list(`jsonPayload.category="CREATION" AND jsonPayload.principal="projects/p"`), 7)
	rejected := list(`jsonPayload.category=REJECTED`)
	require.Len(t, rejected, 1)
	require.Equal(t, "projects/q", rejected[0].GetPrincipal())
	require.Equal(t, "sample.robots.get", rejected[0].GetDenied()[0].GetPermission())
	require.Len(t, list(`severity>=WARNING`), 1)
	require.Len(t, list(`resource.labels.name="projects/p/robots/r3"`), 1)
	all := list("")
	require.Len(t, all, 9, "with the project's own")
	for i := 1; i < len(all); i++ {
		require.False(t, all[i].GetTime().AsTime().After(all[i-1].GetTime().AsTime()), "the newest first")
	}
	some := do[*auditv1.ListResourceChangeLogsResponse](w.ctx, w, changes, &auditv1.ListResourceChangeLogsRequest{
		Parent: "projects/p", EndTime: all[4].GetTime(),
	}).GetResourceChangeLogs()
	require.NotEmpty(t, some)
	require.Less(t, len(some), 8)

	for _, req := range []*auditv1.ListActivityLogsRequest{
		{Parent: "projects/p", Filter: "jsonPayload..x ="},
		{Parent: "projects/-"},
		{Parent: "devices/x"},
		{Parent: "projects/p", PageToken: "nonsense"},
	} {
		_, err := w.try(w.ctx, activities, req)
		require.Equal(t, fault.Invalid, fault.KindOf(err), req)
	}
	page := do[*auditv1.ListActivityLogsResponse](w.ctx, w, activities, &auditv1.ListActivityLogsRequest{Parent: "projects/p", PageSize: 1})
	_, err = w.try(w.ctx, activities, &auditv1.ListActivityLogsRequest{Parent: "projects/q", PageSize: 1, PageToken: page.GetNextPageToken()})
	require.Equal(t, "INVALID_PAGE_TOKEN", fault.ReasonOf(err), "a token is of its request")
}

func TestLogs_TenantsAreApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paint("projects/p", "p", "r", "red")
	w.paint("projects/q", "q", "r", "red")
	require.NoError(t, w.hand())
	own := do[*auditv1.ListActivityLogsResponse](as("projects/q"), w, activities, &auditv1.ListActivityLogsRequest{Parent: "projects/q"})
	require.NotEmpty(t, own.GetActivityLogs())
	for _, a := range own.GetActivityLogs() {
		require.Contains(t, a.GetResource(), "projects/q")
	}
	for _, parent := range []string{"projects/p", "", "projects/-", "projects/_platform"} {
		_, err := w.try(as("projects/q"), activities, &auditv1.ListActivityLogsRequest{Parent: parent})
		require.Equal(t, fault.Denied, fault.KindOf(err), parent)
		_, err = w.try(as("projects/q"), changes, &auditv1.ListResourceChangeLogsRequest{Parent: parent})
		require.Equal(t, fault.Denied, fault.KindOf(err), parent)
	}
	for _, req := range []*auditv1.GetResourceHistoryRequest{
		{Parent: "projects/q", Resource: "projects/p/robots/r"},
		{Parent: "", Resource: "projects/p/robots/r"},
		{Parent: "projects/p", Resource: "projects/p/robots/r"},
	} {
		_, err := w.try(as("projects/q"), history, req)
		require.Error(t, err)
	}
	// A filter cannot reach beyond its project.
	got := do[*auditv1.ListActivityLogsResponse](as("projects/q"), w, activities, &auditv1.ListActivityLogsRequest{
		Parent: "projects/q", Filter: `resource.labels.name="projects/p/robots/r" OR jsonPayload.principal="projects/p"`,
	})
	require.Empty(t, got.GetActivityLogs())
}

// TestLogs_ReadsOfTheAuditAreAudited: who looked at the audit is in the audit.
func TestLogs_ReadsOfTheAuditAreAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	do[*auditv1.ListActivityLogsResponse](as("projects/p"), w, activities, &auditv1.ListActivityLogsRequest{Parent: "projects/p", Filter: "jsonPayload.x=1"})
	require.NoError(t, w.hand())
	got := do[*auditv1.ListActivityLogsResponse](w.ctx, w, activities, &auditv1.ListActivityLogsRequest{
		Parent: "projects/p", Filter: `jsonPayload.service="audit.selvedge.dev"`,
	}).GetActivityLogs()
	require.Len(t, got, 1)
	require.Equal(t, resourcev1.ActivityLog_READ, got[0].GetCategory())
	require.Equal(t, "projects/p", got[0].GetPrincipal())
	require.Equal(t, "jsonPayload.x=1", got[0].GetRequest().AsMap()["filter"])
	require.Zero(t, got[0].GetSampleRate(), "all of them")
}

func TestRules_ConfigsAndDescriptorsCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	do[*auditv1.AuditConfig](w.ctx, w, "audit.v1.AuditConfigService.CreateAuditConfig", &auditv1.CreateAuditConfigRequest{
		Parent: "projects/p", AuditConfigId: "default", AuditConfig: &auditv1.AuditConfig{
			Reads:     []*auditv1.ReadRule{{Methods: []string{"selvedge.sample.v1.RobotService.*"}, Rate: 1}, {Rate: 0}},
			Retention: []*auditv1.RetentionRule{{Categories: []resourcev1.ActivityLog_Category{resourcev1.ActivityLog_READ}, Keep: durationpb.New(48 * time.Hour)}},
		},
	})
	do[*auditv1.AuditDescriptor](w.ctx, w, "audit.v1.AuditDescriptorService.CreateAuditDescriptor", &auditv1.CreateAuditDescriptorRequest{
		Parent: "projects/p", AuditDescriptor: &auditv1.AuditDescriptor{
			ResourceType: "sample.selvedge.dev/Robot",
			Labels:       []*auditv1.AuditLabel{{Key: "color", Path: "spec.color"}, {Key: "site", Path: "metadata.labels.site"}},

			PromotedLabelSets: []*auditv1.PromotedLabelSet{{Keys: []string{"site", "color"}}, {Keys: []string{"color"}}},
		},
	})
	do[*auditv1.AuditDescriptor](w.ctx, w, "audit.v1.AuditDescriptorService.CreateAuditDescriptor", &auditv1.CreateAuditDescriptorRequest{
		Parent: "services/sample.selvedge.dev", AuditDescriptor: &auditv1.AuditDescriptor{
			ResourceType: "sample.selvedge.dev/Robot", Labels: []*auditv1.AuditLabel{{Key: "line", Path: "metadata.labels.line"}},
			PromotedLabelSets: []*auditv1.PromotedLabelSet{{Keys: []string{"line"}}},
		},
	})
	w.rules.Use(w.store) // rather than wait until what is known is too old
	w.paint("projects/p", "p", "r", "red")
	w.paint("projects/q", "q", "r", "red")
	for range 3 {
		do[*samplev1.Robot](as("projects/p"), w, getRobot, &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
		_, err := w.try(as("projects/p"), "sample.v1.ModelService.ListModels", &samplev1.ListModelsRequest{Parent: "projects/p"})
		require.NoError(t, err)
	}
	require.NoError(t, w.hand())
	list := func(text string) []*resourcev1.ActivityLog {
		return do[*auditv1.ListActivityLogsResponse](w.ctx, w, activities, &auditv1.ListActivityLogsRequest{Parent: "projects/p", Filter: text}).GetActivityLogs()
	}
	require.Len(t, list(`jsonPayload.category=READ AND jsonPayload.service="sample.selvedge.dev"`), 3)
	for of, want := range map[[2]string][]string{
		{"p", "sample.selvedge.dev/Robot"}: {"color", "line", "site"}, {"p", "sample.selvedge.dev/Model"}: nil, {"q", "sample.selvedge.dev/Robot"}: {"line"},
	} {
		require.Equal(t, want, w.rules.Promoted(of[1], of[0]), of)
	}
	labelled := list(`labels.color="red"`)
	require.Len(t, labelled, 1)
	require.Equal(t, map[string]string{"color": "red"}, labelled[0].GetLabels())
	of := do[*auditv1.ListResourceChangeLogsResponse](w.ctx, w, changes, &auditv1.ListResourceChangeLogsRequest{Parent: "projects/p", Filter: `labels.color="red"`})
	require.Len(t, of.GetResourceChangeLogs(), 1)
	require.Empty(t, do[*auditv1.ListResourceChangeLogsResponse](w.ctx, w, changes, &auditv1.ListResourceChangeLogsRequest{Parent: "projects/q", Filter: `labels.color="red"`}).GetResourceChangeLogs())
	require.Equal(t, 48*time.Hour, w.rules.Keep("p", "READ"))
	require.Equal(t, 400*24*time.Hour, w.rules.Keep("p", "DELETION"))
	require.Equal(t, 30*24*time.Hour, w.rules.Keep("_platform", "READ"))
	require.Equal(t, 400*24*time.Hour, w.rules.KeepEntries("p"))
}

func TestResources_AreChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := func(field string, d *auditv1.AuditDescriptor) {
		t.Helper()
		d.ResourceType = "sample.selvedge.dev/Robot"
		_, err := w.try(w.ctx, "audit.v1.AuditDescriptorService.CreateAuditDescriptor", &auditv1.CreateAuditDescriptorRequest{Parent: "projects/p", AuditDescriptor: d})
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Contains(t, e.Field, field)
	}
	f("labels[0].path", &auditv1.AuditDescriptor{Labels: []*auditv1.AuditLabel{{Key: "a", Path: "nothing"}}})
	f("labels[0].path", &auditv1.AuditDescriptor{Labels: []*auditv1.AuditLabel{{Key: "a", Path: "spec.pin"}}})
	f("labels[0].path", &auditv1.AuditDescriptor{Labels: []*auditv1.AuditLabel{{Key: "a", Path: "spec"}}})
	f("labels[1].key", &auditv1.AuditDescriptor{Labels: []*auditv1.AuditLabel{{Key: "a", Path: "name"}, {Key: "a", Path: "name"}}})
	f("promotedLabelSets[0].keys", &auditv1.AuditDescriptor{PromotedLabelSets: []*auditv1.PromotedLabelSet{{Keys: []string{"b"}}}})
	f("promotedLabelSets[0].keys", &auditv1.AuditDescriptor{
		Labels:            []*auditv1.AuditLabel{{Key: "a", Path: "name"}},
		PromotedLabelSets: []*auditv1.PromotedLabelSet{{Keys: []string{"a", "a"}}},
	})
	_, err := w.try(w.ctx, "audit.v1.AuditConfigService.CreateAuditConfig", &auditv1.CreateAuditConfigRequest{
		Parent: "projects/p", AuditConfigId: "other", AuditConfig: &auditv1.AuditConfig{},
	})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

// TestKeeper_TrailOrLogsAway: whichever is away, changes are committed, and all
// records come to both later, once each.
func TestKeeper_TrailOrLogsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.trail.away = true
	w.paint("projects/p", "p", "a", "red")
	require.ErrorIs(t, w.hand(), errAway)
	w.trail.away = false
	w.logs.set(true)
	w.paint("projects/p", "p", "b", "red")
	require.ErrorIs(t, w.hand(), errAway)
	require.NotEmpty(t, w.trail.records, "the trail is first")
	before := len(w.trail.records)
	w.logs.set(false)
	require.NoError(t, w.hand())
	require.Len(t, w.trail.records, before, "and has them once")
	got := do[*auditv1.ListActivityLogsResponse](w.ctx, w, activities, &auditv1.ListActivityLogsRequest{Parent: "projects/p", Filter: `jsonPayload.category=CREATION`})
	require.Len(t, got.GetActivityLogs(), 3)
	for _, r := range w.trail.records {
		require.NotEmpty(t, r.Project)
		require.NotEmpty(t, r.Category)
		require.Contains(t, []string{auditv1.ActivityLog, auditv1.ChangeLog}, r.Type)
	}
	require.Zero(t, w.keeper.Refused())
}
