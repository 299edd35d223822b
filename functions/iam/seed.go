package iam

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// viewer is the role to read everything but secrets of iam.
const viewer = "services/iam.selvedge.dev/roles/viewer"

// builtIns are the roles of the platform with what people read about them.
func (a *Accounts) builtIns() []*iamv1.Role {
	about := map[string]*iamv1.Role{
		iam.Administrator:  {DisplayName: "Administrator", Category: iamv1.Role_OWNER, Description: "Everything."},
		iam.ProjectEditor:  {DisplayName: "Project editor", Category: iamv1.Role_USER, Description: "Everything but accounts, roles, keys and how much is audited; the keys of devices too."},
		iam.DeviceRole:     {DisplayName: "Device", Category: iamv1.Role_AGENT, Description: "Posts events."},
		iam.Public:         {DisplayName: "Public", Category: iamv1.Role_PUBLIC, Description: "Reads what the platform's own services have; everybody has it."},
		iam.RegionViewer:   {DisplayName: "Region viewer", Category: iamv1.Role_PUBLIC, Description: "Reads which regions there are; everybody has it."},
		iam.ServiceRole:    {DisplayName: "Service", Category: iamv1.Role_SERVICE, Description: "Registers a service and finds others; bound on the platform."},
		iam.ProjectCreator: {DisplayName: "Project creator", Category: iamv1.Role_USER, Description: "Makes projects and organizations, which are then the maker's; bound on the platform."},
		viewer:             {DisplayName: "Viewer", Category: iamv1.Role_USER, Description: "Reads everything."},
	}
	all := append(iam.BuiltIn(), access.Role{Name: viewer, Grants: []access.Grant{{Permissions: a.reading()}}})
	out := make([]*iamv1.Role, len(all))
	for i, r := range all {
		m := about[r.Name]
		m.Name = r.Name
		for _, g := range r.Grants {
			m.Grants = append(m.Grants, &iamv1.Grant{Permissions: g.Permissions, Except: g.Except})
		}
		out[i] = m
	}
	return out
}

// reading are the permissions that only read.
func (a *Accounts) reading() []string {
	var out []string
	for _, p := range a.known {
		switch p[strings.LastIndexByte(p, '.')+1:] {
		case "get", "list", "search", "watch":
			out = append(out, p)
		}
	}
	return out
}

// Seed writes what the platform brings along: built-in roles, the permissions
// that there are, and a key to sign tokens with. It is to be called before
// anything is answered, and changes nothing that is as it should be.
func (a *Accounts) Seed(ctx context.Context) error {
	follows, err := a.policy(ctx)
	if err != nil {
		return fmt.Errorf("iam: %w", err)
	}
	ctx = policy.With(ctx, follows)
	err = a.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		var writes []proto.Message
		for _, r := range a.builtIns() {
			m, err := a.store.Get(ctx, a.role, resource.Name(r.GetName()))
			old, there := m.(*iamv1.Role)
			switch {
			case err != nil && fault.KindOf(err) != fault.NotFound:
				return err
			case err == nil && there:
				r.Metadata = old.GetMetadata()
				if proto.Equal(old, r) {
					continue
				}
			}
			writes = append(writes, r)
		}
		missing, err := a.missing(ctx)
		if err != nil {
			return err
		}
		for _, m := range append(writes, missing...) {
			if err := a.store.Save(ctx, m, store.SaveOptions{Reason: "built in"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = a.seedKey(ctx)
	}
	if err != nil {
		return fmt.Errorf("iam: writing what is built in: %w", err)
	}
	return nil
}

// missing are the permissions that are no resources yet.
func (a *Accounts) missing(ctx context.Context) ([]proto.Message, error) {
	names := make([]resource.Name, len(a.known))
	for i, p := range a.known {
		service, _, _ := strings.Cut(p, ".")
		names[i] = resource.Name("services/" + service + ".selvedge.dev/permissions/" + p)
	}
	for _, s := range a.store.Types().Services() {
		for _, m := range s.Methods {
			if i, ok := slices.BinarySearch(a.known, m.Permission); ok {
				names[i] = resource.Name("services/" + s.Domain + "/permissions/" + m.Permission)
			}
		}
	}
	var out []proto.Message
	there, err := a.store.BatchGet(ctx, a.permission, names)
	for i := range there {
		if there[i] == nil {
			out = append(out, &iamv1.Permission{Name: string(names[i])})
		}
	}
	return out, err
}
