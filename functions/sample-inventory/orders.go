package inventory

import (
	"context"
	"errors"
	"fmt"

	iamv1 "selvedge.dev/functions/iam/v1"
	inventoryv1 "selvedge.dev/functions/sample-inventory/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// dryKey is in the context of a call that is only to be checked.
type dryKey struct{}

// orders are the rules of device orders.
type orders struct {
	store    *store.Store
	platform Caller
	region   string
	model    *schema.Resource
	// create is the method that makes a service account.
	create *schema.Method
}

// newOrders makes the rules.
func newOrders(st *store.Store, o Options) (*orders, error) {
	r := &orders{store: st, platform: o.Platform, region: o.Region}
	var ok bool
	if r.model, ok = st.Types().Type(Domain + "/DeviceModel"); !ok {
		return nil, errors.New("inventory: the store has no type of device models")
	}
	for _, m := range iamv1.AddTo(new(schema.Registry)).Methods {
		if m.Desc.Name() == "CreateServiceAccount" {
			r.create = m
		}
	}
	return r, nil
}

// validate are the rules that a proto file cannot say. A new order gets the
// account of its devices.
func (r *orders) validate(ctx context.Context, old, o *inventoryv1.DeviceOrder) error {
	if o.GetState() == inventoryv1.DeviceOrder_STATE_UNSPECIFIED {
		o.State = inventoryv1.DeviceOrder_PLACED
	}
	switch {
	case old != nil && o.GetState() < old.GetState():
		return refuse(o, "STATE_GOES_BACK", "state", fmt.Errorf("an order that is %s is not %s again", old.GetState(), o.GetState()))
	case old != nil && old.GetState() > inventoryv1.DeviceOrder_PLACED && (o.GetCount() != old.GetCount() || o.GetSite() != old.GetSite()):
		return refuse(o, "ALREADY_SHIPPED", "count", fmt.Errorf("an order that is %s cannot be changed", old.GetState()))
	case old != nil:
		return nil
	}
	m, err := r.store.Get(ctx, r.model, resource.Name(o.GetDeviceModel()))
	if err != nil {
		return err
	}
	if model, ok := m.(*inventoryv1.DeviceModel); ok && model.GetDiscontinued() {
		return refuse(o, "DISCONTINUED", "device_model", fmt.Errorf("%s can no longer be ordered", model.GetName()))
	}
	if ctx.Value(dryKey{}) != nil {
		return nil
	}
	return r.makeAccount(ctx, o)
}

// makeAccount makes the account of an order's devices in the iam service, which
// knows nothing of orders: the owner reference is why it is deleted with the
// order. If this transaction fails, nothing refers to the account, and it is
// deleted soon. If it is run again, another account is made, and of the two the
// one that the order does not refer to is deleted: that is what
// requires_owner_reference asks for.
func (r *orders) makeAccount(ctx context.Context, o *inventoryv1.DeviceOrder) error {
	out, err := r.platform.Call(ctx, r.create, &iamv1.CreateServiceAccountRequest{
		Parent: string(resource.Name(o.GetName()).Parent()),
		ServiceAccount: &iamv1.ServiceAccount{
			DisplayName: "devices of the order " + resource.Name(o.GetName()).ID(),
			Metadata: &resourcev1.Metadata{
				Services: &resourcev1.Services{OwningService: Domain, AllowedServices: []string{Domain}},
				OwnerReferences: []*resourcev1.OwnerReference{{
					Type: Domain + "/DeviceOrder", Name: o.GetName(), Version: "v1", Region: r.region, RequiresOwnerReference: true,
				}},
			},
		},
	})
	if err != nil {
		return fmt.Errorf("making the account of %s: %w", o.GetName(), err)
	}
	account, ok := out.(*iamv1.ServiceAccount)
	if !ok {
		return &fault.Error{Op: "inventory.Order", Name: o.GetName(), Kind: fault.Internal, Err: fmt.Errorf("the iam service answered a %T", out)}
	}
	o.ServiceAccount = account.GetName()
	return nil
}

// refuse is the fault of an order that breaks a rule.
func refuse(o *inventoryv1.DeviceOrder, reason, field string, why error) error {
	return &fault.Error{Op: "inventory.Order", Name: o.GetName(), Kind: fault.Precondition, Reason: reason, Field: field, Err: why}
}
