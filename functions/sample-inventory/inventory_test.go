package inventory_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	inventoryv1 "selvedge.dev/functions/sample-inventory/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
)

func TestOrders_Rules(t *testing.T) {
	t.Parallel()
	w := open(t)
	made, err := w.order("o", orderOf(), false)
	require.NoError(t, err)
	require.Equal(t, inventoryv1.DeviceOrder_PLACED, made.GetState())

	update := func(o *inventoryv1.DeviceOrder, paths ...string) error {
		o.Name = made.GetName()
		_, err := w.call("DeviceOrderService.UpdateDeviceOrder", &inventoryv1.UpdateDeviceOrderRequest{DeviceOrder: o, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
		return err
	}
	require.NoError(t, update(&inventoryv1.DeviceOrder{Count: 3}, "count"))
	require.NoError(t, update(&inventoryv1.DeviceOrder{State: inventoryv1.DeviceOrder_SHIPPED}, "state"))
	refused(t, update(&inventoryv1.DeviceOrder{Count: 4}, "count"), fault.Precondition, "ALREADY_SHIPPED")
	refused(t, update(&inventoryv1.DeviceOrder{State: inventoryv1.DeviceOrder_PLACED}, "state"), fault.Precondition, "STATE_GOES_BACK")

	// What an order is of, and where it goes, stays.
	_, err = w.call("SiteService.DeleteSite", &inventoryv1.DeleteSiteRequest{Name: "projects/p/sites/pier"})
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)

	_, err = w.order("many", &inventoryv1.DeviceOrder{DeviceModel: "projects/p/deviceModels/pump", Site: "projects/p/sites/pier", Count: 1001}, false)
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	_, err = w.call("DeviceModelService.UpdateDeviceModel", &inventoryv1.UpdateDeviceModelRequest{DeviceModel: &inventoryv1.DeviceModel{
		Name: "projects/p/deviceModels/pump", Discontinued: true,
	}})
	require.NoError(t, err)
	_, err = w.order("late", orderOf(), false)
	refused(t, err, fault.Precondition, "DISCONTINUED")
	require.Len(t, w.accounts(), 1, "what is refused makes nothing")
}

// What is only checked makes nothing elsewhere.
func TestOrders_ValidateOnly(t *testing.T) {
	t.Parallel()
	w := open(t)
	_, err := w.order("o", orderOf(), true)
	require.NoError(t, err)
	require.Empty(t, w.accounts())
	w.ctx = iam.WithPrincipal(w.ctx, iam.Principal{})
	_, err = w.order("o", orderOf(), false)
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err), "%v", err)
	require.Empty(t, w.accounts())
}

// The account of an order is the inventory's, since a service that is not the
// platform's own creates nothing else there, lives as long as the order does,
// and goes with it. SPEC 1.F 15, 17, 20, 24
func TestOrders_AccountGoesWithTheOrder(t *testing.T) {
	t.Parallel()
	w := open(t)
	made, err := w.order("o", orderOf(), false)
	require.NoError(t, err)
	require.Equal(t, []string{resource.Name(made.GetServiceAccount()).ID()}, w.accounts())
	w.pass(time.Hour)
	require.Len(t, w.accounts(), 1)

	_, err = w.call("DeviceOrderService.DeleteDeviceOrder", &inventoryv1.DeleteDeviceOrderRequest{Name: made.GetName()})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		require.NoError(t, w.control.Settle(t.Context()))
		return len(w.accounts()) == 0
	}, 20*time.Second, 5*time.Millisecond)
}

// A creation that is aborted and runs again makes two accounts, of which the one
// that the order refers to stays. SPEC 1.F 22
func TestOrders_AbortedAndRepeated(t *testing.T) {
	t.Parallel()
	w := open(t)
	var once sync.Once
	w.during = func() {
		once.Do(func() { // the model that the transaction has read changes
			_, err := w.call("DeviceModelService.UpdateDeviceModel", &inventoryv1.UpdateDeviceModelRequest{DeviceModel: &inventoryv1.DeviceModel{
				Name: "projects/p/deviceModels/pump", Vendor: "another",
			}})
			require.NoError(t, err)
		})
	}
	made, err := w.order("o", orderOf(), false)
	require.NoError(t, err)
	require.Equal(t, 2, w.calls)
	require.Len(t, w.accounts(), 2)
	w.pass(10 * time.Minute)
	require.Equal(t, []string{resource.Name(made.GetServiceAccount()).ID()}, w.accounts())
}

// A creation that fails for good leaves no account. SPEC 1.F 16, 18
func TestOrders_Failed(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.during = func() {
		// Nothing is left to order by the time of the commit.
		_, err := w.call("DeviceModelService.UpdateDeviceModel", &inventoryv1.UpdateDeviceModelRequest{DeviceModel: &inventoryv1.DeviceModel{
			Name: "projects/p/deviceModels/pump", Discontinued: true,
		}})
		require.NoError(t, err)
	}
	_, err := w.order("o", orderOf(), false)
	var refusal *fault.Error
	require.ErrorAs(t, err, &refusal)
	refused(t, err, fault.Precondition, "DISCONTINUED")
	require.Len(t, w.accounts(), 1)
	w.pass(time.Minute)
	require.Len(t, w.accounts(), 1, "the order may still come")
	w.pass(10 * time.Minute)
	require.Empty(t, w.accounts())
}

// The code in the tutorial is the code here.
func TestReadme_IsTheCode(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		b, err := os.ReadFile(filepath.FromSlash(path))
		require.NoError(t, err)
		return string(b)
	}
	in := map[string]string{"go": read("orders.go"), "proto": read("v1/inventory.proto")}
	found := regexp.MustCompile("(?s)```(go|proto)\n(.*?)```").FindAllStringSubmatch(read("README.md"), -1)
	require.Len(t, found, 3)
	for _, b := range found {
		require.Contains(t, in[b[1]], strings.TrimRight(b[2], "\n"))
	}
}
