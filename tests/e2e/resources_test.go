package e2e

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	devicesv1 "selvedge.dev/functions/devices/v1"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/tests/process"
)

// adminKey is the administrator's.
const adminKey = process.AdminKey

// fleet is the devices of one project as seen through one door.
type fleet struct {
	t      *testing.T
	ctx    context.Context
	door   door
	parent string
}

// name is the name of a device.
func (f fleet) name(id string) string { return f.parent + "/devices/" + id }

// do makes a call that must succeed.
func (f fleet) do(method string, in, out proto.Message) {
	f.t.Helper()
	require.NoError(f.t, f.door.call(f.ctx, method, in, out), method)
}

// refused makes a call that must not.
func (f fleet) refused(code codes.Code, reason, method string, in proto.Message) *refusal {
	f.t.Helper()
	return refused(f.t, f.door.call(f.ctx, method, in, new(devicesv1.Device)), code, reason)
}

// create makes a device.
func (f fleet) create(id string, d *devicesv1.Device) *devicesv1.Device {
	f.t.Helper()
	out := new(devicesv1.Device)
	f.do("DeviceService/CreateDevice", &devicesv1.CreateDeviceRequest{Parent: f.parent, DeviceId: id, Device: d}, out)
	require.Equal(f.t, f.name(id), out.GetName())
	return out
}

// get reads a device.
func (f fleet) get(id string, mask ...string) *devicesv1.Device {
	f.t.Helper()
	out := new(devicesv1.Device)
	f.do("DeviceService/GetDevice", &devicesv1.GetDeviceRequest{Name: f.name(id), ReadMask: maskOf(mask)}, out)
	return out
}

// maskOf is a mask of those paths, none for none.
func maskOf(paths []string) *fieldmaskpb.FieldMask {
	if len(paths) == 0 {
		return nil
	}
	return &fieldmaskpb.FieldMask{Paths: paths}
}

// update changes fields of a device.
func (f fleet) update(d *devicesv1.Device, mask ...string) *devicesv1.Device {
	f.t.Helper()
	out := new(devicesv1.Device)
	f.do("DeviceService/UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: d, UpdateMask: maskOf(mask)}, out)
	return out
}

// remove deletes a device.
func (f fleet) remove(id string) {
	f.t.Helper()
	f.do("DeviceService/DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: f.name(id)}, new(resourcev1.DeletionPlan))
}

// labelled is a device at a site.
func labelled(site, display string) *devicesv1.Device {
	return &devicesv1.Device{DisplayName: display, Metadata: &resourcev1.Metadata{Labels: map[string]string{"site": site}}}
}

// idsOf are the last parts of the names of devices.
func idsOf(f fleet, devices []*devicesv1.Device) []string {
	ids := make([]string, len(devices))
	for i, d := range devices {
		ids[i] = d.GetName()[len(f.name("")):]
	}
	return ids
}

// TestResources_ThroughEveryDoor does the same through every protocol that the
// port speaks. SPEC 1.F 11, 26, 37, 38, 39, 43
func TestResources_ThroughEveryDoor(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	n := 0
	for name, d := range doors(t, p, adminKey) {
		n++
		t.Run(name, func(t *testing.T) {
			f := fleet{t: t, ctx: bounded(t), door: d, parent: fmt.Sprint("projects/p", n)}
			f.journey()
			f.door = dialGRPC(t, p.URL, "", nil)
			f.refused(codes.Unauthenticated, "UNAUTHENTICATED", "DeviceService/GetDevice", &devicesv1.GetDeviceRequest{Name: f.name("d1")})
		})
	}
	stop(t, p)
}

// journey is everything that a client does with resources, in a project that
// nobody has used.
func (f fleet) journey() {
	f.t.Helper()
	f.writes()
	f.reads()
	f.references()
	f.watches()
}

// writes creates and updates.
func (f fleet) writes() {
	t := f.t
	made := f.create("d1", labelled("north", "Pump One"))
	require.Equal(t, "Pump One", made.GetDisplayName())
	md := made.GetMetadata()
	require.NotEmpty(t, md.GetUid())
	require.NotEmpty(t, md.GetResourceVersion())
	require.True(t, md.GetCreateTime().IsValid())
	require.EqualValues(t, 1, md.GetGeneration())
	require.Equal(t, "local", md.GetSyncing().GetOwningRegion())
	require.True(t, proto.Equal(made, f.get("d1")))
	require.True(t, proto.Equal(&devicesv1.Device{Name: f.name("d1"), DisplayName: "Pump One"}, f.get("d1", "name", "display_name")))
	again := &devicesv1.CreateDeviceRequest{Parent: f.parent, DeviceId: "d1", Device: labelled("south", "")}
	require.Equal(t, f.name("d1"), f.refused(codes.AlreadyExists, "ALREADY_EXISTS", "DeviceService/CreateDevice", again).name)

	// Only what is in the mask, and only as long as nobody was faster.
	routed := f.update(&devicesv1.Device{Name: f.name("d1"), Route: "reason", DisplayName: "not in the mask"}, "route")
	require.Equal(t, []string{"reason", "Pump One"}, []string{routed.GetRoute(), routed.GetDisplayName()})
	require.EqualValues(t, 2, routed.GetMetadata().GetGeneration())
	require.NotEqual(t, md.GetResourceVersion(), routed.GetMetadata().GetResourceVersion())
	stale := &devicesv1.Device{Name: f.name("d1"), Route: "other", Metadata: &resourcev1.Metadata{ResourceVersion: md.GetResourceVersion()}}
	f.refused(codes.Aborted, "ETAG_MISMATCH", "DeviceService/UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: stale, UpdateMask: maskOf([]string{"route"})})
	stale.Metadata.ResourceVersion = routed.GetMetadata().GetResourceVersion()
	require.Equal(t, "other", f.update(stale, "route").GetRoute())
	require.Equal(t, map[string]string{"site": "north", "floor": "2"},
		f.update(&devicesv1.Device{Name: f.name("d1"), Metadata: &resourcev1.Metadata{Labels: map[string]string{"floor": "2"}}}, "metadata.labels.floor").GetMetadata().GetLabels())

	// A repeated request is answered as the first, and happens once.
	req := &devicesv1.CreateDeviceRequest{Parent: f.parent, Device: labelled("south", "Repeated"), RequestId: "repeated-in-" + f.parent}
	first, second := new(devicesv1.Device), new(devicesv1.Device)
	f.do("DeviceService/CreateDevice", req, first)
	f.do("DeviceService/CreateDevice", req, second)
	require.True(t, proto.Equal(first, second), "%v\n%v", first, second)
	req.Device.DisplayName = "another"
	f.refused(codes.InvalidArgument, "REQUEST_ID_REUSED", "DeviceService/CreateDevice", req)
	f.do("DeviceService/DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: first.GetName()}, new(resourcev1.DeletionPlan))

	// Validated, and not done.
	dry := &devicesv1.CreateDeviceRequest{Parent: f.parent, DeviceId: "dry", Device: labelled("north", "Dry"), ValidateOnly: true}
	would := new(devicesv1.Device)
	f.do("DeviceService/CreateDevice", dry, would)
	require.Equal(t, f.name("dry"), would.GetName())
	f.refused(codes.NotFound, "NOT_FOUND", "DeviceService/GetDevice", &devicesv1.GetDeviceRequest{Name: f.name("dry")})
	dry.DeviceId = "d1"
	f.refused(codes.AlreadyExists, "ALREADY_EXISTS", "DeviceService/CreateDevice", dry)
}

// reads lists, searches and reads many.
func (f fleet) reads() {
	t := f.t
	for i := 2; i <= 6; i++ {
		site := []string{"north", "south"}[i%2]
		f.create(fmt.Sprint("d", i), labelled(site, fmt.Sprintf("Valve %d", i)))
	}
	// d1, d2, d4 and d6 are in the north.
	list := &devicesv1.ListDevicesRequest{Parent: f.parent, Filter: `metadata.labels.site = "north"`, OrderBy: "display_name desc", PageSize: 3, IncludePagingInfo: true}
	page := new(devicesv1.ListDevicesResponse)
	f.do("DeviceService/ListDevices", list, page)
	require.Equal(t, []string{"d6", "d4", "d2"}, idsOf(f, page.GetDevices()))
	require.EqualValues(t, 4, page.GetPagingInfo().GetTotal())
	require.Empty(t, page.GetPrevPageToken())
	list.PageToken = page.GetNextPageToken()
	page = new(devicesv1.ListDevicesResponse)
	f.do("DeviceService/ListDevices", list, page)
	require.Equal(t, []string{"d1"}, idsOf(f, page.GetDevices()))
	require.Empty(t, page.GetNextPageToken())
	require.EqualValues(t, 3, page.GetPagingInfo().GetOffset())
	list.PageToken = page.GetPrevPageToken()
	page = new(devicesv1.ListDevicesResponse)
	f.do("DeviceService/ListDevices", list, page)
	require.Equal(t, []string{"d6", "d4", "d2"}, idsOf(f, page.GetDevices()))
	list.Filter = ""
	f.refused(codes.InvalidArgument, "INVALID_PAGE_TOKEN", "DeviceService/ListDevices", list)

	found := new(devicesv1.SearchDevicesResponse)
	f.do("DeviceService/SearchDevices", &devicesv1.SearchDevicesRequest{Parent: f.parent, Phrase: "valv 4"}, found)
	require.Equal(t, []string{"d4"}, idsOf(f, found.GetDevices()))

	batch := &devicesv1.BatchGetDevicesRequest{Parent: f.parent, Names: []string{f.name("d3"), f.name("no"), f.name("d1")}, View: resourcev1.View_NAME}
	f.refused(codes.NotFound, "NOT_FOUND", "DeviceService/BatchGetDevices", batch)
	batch.AllowMissing = true
	several := new(devicesv1.BatchGetDevicesResponse)
	f.do("DeviceService/BatchGetDevices", batch, several)
	require.Equal(t, []string{"d3", "d1"}, idsOf(f, several.GetDevices()))
	require.Equal(t, []string{f.name("no")}, several.GetMissing())

	// Every refusal says what is wrong with which field.
	bad := func(reason, field, method string, in proto.Message) {
		t.Helper()
		require.Equal(t, field, f.refused(codes.InvalidArgument, reason, method, in).field)
	}
	bad("INVALID_FILTER", "filter", "DeviceService/ListDevices", &devicesv1.ListDevicesRequest{Parent: f.parent, Filter: "nothing = 1"})
	bad("INVALID_FILTER", "filter", "DeviceService/ListDevices", &devicesv1.ListDevicesRequest{Parent: f.parent, Filter: `metadata.owner_references.name: "x"`})
	bad("INVALID_ORDER_BY", "order_by", "DeviceService/ListDevices", &devicesv1.ListDevicesRequest{Parent: f.parent, OrderBy: "nothing"})
	bad("INVALID_MASK", "update_mask", "DeviceService/UpdateDevice", &devicesv1.UpdateDeviceRequest{Device: &devicesv1.Device{Name: f.name("d1")}, UpdateMask: maskOf([]string{"nothing"})})
	bad("INVALID_FIELD", "page_size", "DeviceService/ListDevices", &devicesv1.ListDevicesRequest{Parent: f.parent, PageSize: -1})
}

// references makes a blueprint, and a device that cannot do without it.
func (f fleet) references() {
	t := f.t
	blueprint := f.parent + "/blueprints/pump"
	broken := &devicesv1.UpdateDeviceRequest{Device: &devicesv1.Device{Name: f.name("d1"), Blueprint: blueprint}, UpdateMask: maskOf([]string{"blueprint"})}
	require.Equal(t, "blueprint", f.refused(codes.InvalidArgument, "BROKEN_REFERENCE", "DeviceService/UpdateDevice", broken).field)
	f.do("BlueprintService/CreateBlueprint", &devicesv1.CreateBlueprintRequest{Parent: f.parent, BlueprintId: "pump", Blueprint: &devicesv1.Blueprint{Route: "writer"}}, new(devicesv1.Blueprint))
	f.do("DeviceService/UpdateDevice", broken, new(devicesv1.Device))

	plan := new(resourcev1.DeletionPlan)
	f.do("BlueprintService/DeleteBlueprint", &devicesv1.DeleteBlueprintRequest{Name: blueprint, ValidateOnly: true}, plan)
	require.True(t, plan.GetBlocked())
	require.Len(t, plan.GetConsequences(), 2)
	require.True(t, proto.Equal(&resourcev1.Consequence{
		Name: f.name("d1"), Type: "devices.selvedge.dev/Device", Effect: resourcev1.Consequence_BLOCKS, Timing: resourcev1.Consequence_AT_ONCE, Cause: blueprint, Path: "blueprint",
	}, plan.GetConsequences()[1]), "%v", plan)
	f.refused(codes.FailedPrecondition, "REFERRED_TO", "BlueprintService/DeleteBlueprint", &devicesv1.DeleteBlueprintRequest{Name: blueprint})

	f.refused(codes.Aborted, "ETAG_MISMATCH", "DeviceService/DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: f.name("d1"), Etag: "stale"})
	plan = new(resourcev1.DeletionPlan)
	f.do("DeviceService/DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: f.name("d1"), Etag: f.get("d1").GetMetadata().GetResourceVersion()}, plan)
	require.Len(t, plan.GetConsequences(), 1)
	require.Equal(t, resourcev1.Consequence_DELETED, plan.GetConsequences()[0].GetEffect())
	f.refused(codes.NotFound, "NOT_FOUND", "DeviceService/DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: f.name("d1")})
	f.do("DeviceService/DeleteDevice", &devicesv1.DeleteDeviceRequest{Name: f.name("d1"), AllowMissing: true}, new(resourcev1.DeletionPlan))
	f.do("BlueprintService/DeleteBlueprint", &devicesv1.DeleteBlueprintRequest{Name: blueprint}, new(resourcev1.DeletionPlan))
}

// tape is what a STATELESS watch told, up to what is complete.
type tape struct {
	t    *testing.T
	next func() (*devicesv1.WatchDevicesResponse, error, bool)
	// token is the newest resume token.
	token string
}

// tape begins a watch that ends with the test.
func (f fleet) tape(in *devicesv1.WatchDevicesRequest) *tape {
	f.t.Helper()
	in.Type, in.Parent = resourcev1.WatchType_STATELESS, f.parent
	next, end := iter.Pull2(f.door.watch(f.ctx, in))
	f.t.Cleanup(end)
	return &tape{t: f.t, next: next}
}

// read reads n changes, and on to the end of their set: "+ID ROUTE" and "-ID".
func (w *tape) read(f fleet, n int) []string {
	w.t.Helper()
	var lines []string
	for {
		m, err, ok := w.next()
		require.True(w.t, ok)
		require.NoError(w.t, err)
		require.False(w.t, m.GetIsHardReset() || m.GetIsSoftReset())
		for _, c := range m.GetDeviceChanges() {
			if r := c.GetRemoved(); r != nil {
				lines = append(lines, "-"+r.GetName()[len(f.name("")):])
				continue
			}
			lines = append(lines, "+"+idsOf(f, []*devicesv1.Device{c.GetSet().GetDevice()})[0]+" "+c.GetSet().GetDevice().GetRoute())
		}
		if m.GetIsCurrent() && len(lines) >= n {
			w.token = m.GetResumeToken()
			return lines
		}
	}
}

// watches watches the devices d2 to d6 while some of them change.
func (f fleet) watches() {
	t := f.t
	w := f.tape(&devicesv1.WatchDevicesRequest{MaxChunkSize: 2})
	require.ElementsMatch(t, []string{"+d2 ", "+d3 ", "+d4 ", "+d5 ", "+d6 "}, w.read(f, 5))
	require.NotEmpty(t, w.token)
	token := w.token
	f.create("d7", labelled("north", "Late"))
	f.update(&devicesv1.Device{Name: f.name("d7"), Route: "r"}, "route")
	f.remove("d7")
	var told []string
	for len(told) < 3 {
		told = append(told, w.read(f, 1)...)
	}
	require.Equal(t, []string{"+d7 ", "+d7 r", "-d7"}, told)
	require.Equal(t, told, f.tape(&devicesv1.WatchDevicesRequest{ResumeToken: token}).read(f, 3), "the token goes on exactly after its set")

	// What is masked out is not told.
	masked := f.tape(&devicesv1.WatchDevicesRequest{ReadMask: maskOf([]string{"route"}), Filter: `metadata.labels.site = "south"`})
	require.ElementsMatch(t, []string{"+d3 ", "+d5 "}, masked.read(f, 2))
	f.update(&devicesv1.Device{Name: f.name("d3"), DisplayName: "not told"}, "display_name")
	f.update(&devicesv1.Device{Name: f.name("d3"), Route: "told"}, "route")
	require.Equal(t, []string{"+d3 told"}, masked.read(f, 1))

	f.watchesPage()

	// Neither order nor pages.
	for _, err := range f.door.watch(f.ctx, &devicesv1.WatchDevicesRequest{Parent: f.parent, Type: resourcev1.WatchType_STATELESS, OrderBy: "name"}) {
		require.Equal(t, "order_by", refused(t, err, codes.InvalidArgument, "NOT_IN_STATELESS").field)
		break
	}
}

// watchesPage keeps a page as it is, by the changes that are told of it.
func (f fleet) watchesPage() {
	t := f.t
	next, end := iter.Pull2(f.door.watch(f.ctx, &devicesv1.WatchDevicesRequest{Parent: f.parent, Type: resourcev1.WatchType_STATEFUL, OrderBy: "display_name", PageSize: 2}))
	defer end()
	var page []*devicesv1.Device
	becomes := func(want ...string) {
		t.Helper()
		for !slices.Equal(want, idsOf(f, page)) {
			m, err, ok := next()
			require.True(t, ok)
			require.NoError(t, err)
			require.Empty(t, m.GetResumeToken())
			for _, c := range m.GetDeviceChanges() {
				if r := c.GetRemoved(); r != nil {
					require.Equal(t, r.GetName(), page[r.GetViewIndex()].GetName())
					page = slices.Delete(page, int(r.GetViewIndex()), int(r.GetViewIndex())+1)
					continue
				}
				x := c.GetSet()
				if !x.GetIsNew() {
					page = slices.Delete(page, int(x.GetPreviousViewIndex()), int(x.GetPreviousViewIndex())+1)
				}
				page = slices.Insert(page, int(x.GetViewIndex()), x.GetDevice())
			}
			require.LessOrEqual(t, len(page), 2)
		}
	}
	becomes("d2", "d4")
	f.create("d0", labelled("north", "A valve"))
	becomes("d0", "d2")
	f.update(&devicesv1.Device{Name: f.name("d2"), DisplayName: "A tap"}, "display_name")
	becomes("d2", "d0")
	f.remove("d0")
	becomes("d2", "d4")
}
