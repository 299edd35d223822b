package service_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/reference"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	secretsv1 "selvedge.dev/sdk/sample/secrets/v1"
	samplev1 "selvedge.dev/sdk/sample/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/service"
	"selvedge.dev/sdk/store"
	"selvedge.dev/sdk/store/plugins"
	"selvedge.dev/sdk/store/sqlite"
	"selvedge.dev/sdk/watch"
)

// rules are what a proto file cannot say about models.
var rules = service.Hooks[*samplev1.Model]{
	Default: func(_ context.Context, m *samplev1.Model) error {
		if m.GetDisplayName() == "" {
			m.DisplayName = resource.Name(m.GetName()).ID()
		}
		return nil
	},
	Validate: func(_ context.Context, old, m *samplev1.Model) error {
		if old != nil && m.GetPrice() > 2*old.GetPrice() {
			return &fault.Error{
				Kind: fault.Precondition, Reason: "PRICE_JUMPS", Field: "price",
				Err: errors.New("a price at most doubles"),
			}
		}
		return nil
	},
}

// robots has the custom methods.
type robots struct {
	store *store.Store
	robot *schema.Resource
}

// paint answers PaintRobot. It is called in a transaction, which is committed
// when it returns no error.
func (s *robots) paint(ctx context.Context, req *samplev1.PaintRobotRequest) (*samplev1.Robot, error) {
	m, err := s.store.Get(ctx, s.robot, resource.Name(req.GetName()))
	if err != nil {
		return nil, err
	}
	robot := m.(*samplev1.Robot)
	if robot.Spec == nil {
		robot.Spec = &samplev1.RobotSpec{}
	}
	robot.Spec.Color = req.GetColor()
	return robot, s.store.Save(ctx, robot, store.SaveOptions{Update: true})
}

// move answers MoveOrders, which has no transaction but its own.
func (s *robots) move(context.Context, *samplev1.MoveOrdersRequest) (*samplev1.MoveOrdersResponse, error) {
	return &samplev1.MoveOrdersResponse{}, nil
}

// newSample makes the sample service over a driver.
func newSample(driver store.Driver) (*service.Service, error) {
	types := &schema.Registry{}
	secretsv1.AddTo(types) // the sample refers to it
	desc := samplev1.AddTo(types)
	var st *store.Store
	home := &resourcev1.MultiRegionPolicy{DefaultControlRegion: "eu", EnabledRegions: []string{"eu"}}
	where := policy.New(types, home, func(ctx context.Context, holder *schema.Resource, name resource.Name) (*resourcev1.MultiRegionPolicy, error) {
		return policy.Local(st)(ctx, holder, name)
	})
	references := reference.New(reference.Options{})
	st = store.New(driver, types, store.Options{
		Plugins: append(plugins.Standard(plugins.Options{Policies: where}), references),
		Cached:  10_000,
	})
	s := &robots{store: st}
	s.robot, _ = types.Type("sample.selvedge.dev/Robot")
	svc, err := service.New(desc, st, service.Options{
		Authorize: service.Allow,
		Policies:  where,
		Planner:   references,
		Hub:       watch.NewHub(st, watch.HubOptions{}),
		Hooks:     []service.Hook{service.On(rules)},
		Methods: []service.Custom{
			service.Handle("Fleet.PaintRobot", s.paint),
			service.Handle("Fleet.MoveOrders", s.move),
		},
	})
	return svc, err
}

func Example() {
	folder, err := os.MkdirTemp("", "sample")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	driver, err := sqlite.OpenDriver(context.Background(), filepath.Join(folder, "resources.db"), sqlite.Options{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = driver.Close() }()
	svc, err := newSample(driver)
	if err != nil {
		panic(err)
	}
	set, err := service.NewSet(svc)
	if err != nil {
		panic(err)
	}

	ctx := iam.WithPrincipal(context.Background(), iam.Principal{Kind: iam.Admin, Name: "admin"})
	_, create, _ := set.Find("/selvedge.sample.v1.ProjectService/CreateProject")
	project, err := svc.Call(ctx, create, &samplev1.CreateProjectRequest{ProjectId: "p", Project: &samplev1.Project{}})
	fmt.Println(project.(*samplev1.Project).GetName(), err)
	_, create, _ = set.Find("selvedge.sample.v1.ModelService.CreateModel")
	model, err := svc.Call(ctx, create, &samplev1.CreateModelRequest{Parent: "projects/p", ModelId: "m", Model: &samplev1.Model{}})
	fmt.Println(model.(*samplev1.Model).GetDisplayName(), err)
	_, get, _ := set.Find("selvedge.sample.v1.RobotService.GetRobot")
	_, err = svc.Call(ctx, get, &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
	fmt.Println(fault.ReasonOf(err))
	_, err = svc.Call(context.Background(), get, &samplev1.GetRobotRequest{Name: "projects/p/robots/r"})
	fmt.Println(err)
	// Output:
	// projects/p <nil>
	// m <nil>
	// NOT_FOUND
	// iam.Allow: the permission sample.robots.get in project p needs credentials: Authorization: Bearer KEY
}

// TestGuide_IsTheExample holds that the code of docs/services.md is the code
// here, and its proto that of the sample.
func TestGuide_IsTheExample(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		b, err := os.ReadFile(filepath.FromSlash(path))
		require.NoError(t, err)
		return string(b)
	}
	in := map[string]string{"go": read("example_test.go"), "proto": read("../sample/v1/sample.proto")}
	blocks := regexp.MustCompile("(?s)```(go|proto)\n(.*?)```").FindAllStringSubmatch(read("../../docs/services.md"), -1)
	require.Len(t, blocks, 5)
	for _, b := range blocks {
		require.Contains(t, in[b[1]], strings.TrimRight(b[2], "\n"))
	}
}
