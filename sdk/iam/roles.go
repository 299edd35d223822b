package iam

import (
	"slices"
	"strings"

	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/resource"
)

// Publish is the permission to post events.
const Publish = "events.publish"

// builtIn is what the names of the built-in roles begin with.
const builtIn = "services/iam.selvedge.dev/roles/"

// The roles that principals have by what they are.
const (
	// Administrator may do everything.
	Administrator = builtIn + "administrator"
	// ProjectEditor may do everything but manage who may do what, and what is
	// recorded of it.
	ProjectEditor = builtIn + "project-editor"
	// DeviceRole is what a device may do: post events.
	DeviceRole = builtIn + "device"
	// Public is what everybody with credentials may read of the platform's own
	// services: their roles and permissions, types and deployments.
	Public = builtIn + "public"
	// RegionViewer is what everybody with credentials may read of the platform:
	// which regions there are.
	RegionViewer = builtIn + "region-viewer"
	// ServiceRole is what an account needs, on the platform, to register a
	// service and to find others.
	ServiceRole = builtIn + "service"
	// ProjectCreator is what somebody needs, on the platform, to make projects and
	// organizations of his own.
	ProjectCreator = builtIn + "project-creator"
)

// projectMember begins the member that a project's key is, before its id.
const projectMember = "project:"

// BuiltIn are the roles that principals have by what they are. A project's key
// may do what it was always good for, and not manage accounts, roles and keys,
// nor say how much of what it does is recorded: one that leaked can be revoked
// without having made another like itself. It can make the keys of the project's
// devices, which post events and do nothing else, so that a project provisions
// its devices itself.
func BuiltIn() []access.Role {
	return []access.Role{
		{Name: Administrator, Grants: []access.Grant{{Permissions: []string{"*"}}}},
		{Name: ProjectEditor, Grants: []access.Grant{
			{Permissions: []string{"*"}, Except: []string{"iam.*", "audit.*"}},
			{Permissions: []string{"iam.deviceKeys.*"}},
			{Permissions: []string{
				"audit.logs.list", "audit.trails.get", "audit.auditDescriptors.*",
				"audit.auditConfigs.get", "audit.auditConfigs.list", "audit.auditConfigs.search", "audit.auditConfigs.watch",
			}},
		}},
		{Name: DeviceRole, Grants: []access.Grant{{Permissions: []string{Publish}}}},
		{Name: Public, Grants: []access.Grant{{Permissions: []string{
			"iam.permissions.get", "iam.permissions.list", "iam.permissions.search", "iam.permissions.watch",
			"iam.roles.get", "iam.roles.list", "iam.roles.search", "iam.roles.watch",
			"meta.services.get", "meta.deployments.get", "meta.deployments.list", "meta.resources.get", "meta.resources.list",
		}}}},
		{Name: RegionViewer, Grants: []access.Grant{{Permissions: []string{
			"meta.regions.get", "meta.regions.list", "meta.regions.search", "meta.regions.watch",
		}}}},
		{Name: ProjectCreator, Grants: []access.Grant{{Permissions: []string{"iam.organizations.create", "iam.projects.create"}}}},
		{Name: ServiceRole, Grants: []access.Grant{{Permissions: []string{
			"meta.services.get", "meta.services.create", "meta.services.update", "meta.services.watch",
			"meta.deployments.get", "meta.deployments.create", "meta.deployments.update", "meta.deployments.watch",
			"meta.resources.list", "meta.resources.create", "meta.resources.update",
		}}}},
	}
}

// ImpliedOn is [Implied], and the roles [RegionViewer] on the platform and
// [Public] on services, which are domains.
func ImpliedOn(services []string) func(member string) []access.Implied {
	public := []access.Implied{{Role: RegionViewer}}
	for _, s := range services {
		public = append(public, access.Implied{Role: Public, Scope: "services/" + s})
	}
	return func(member string) []access.Implied {
		if member == "" {
			return nil
		}
		return slices.Concat(Implied(member), public)
	}
}

// Implied are the roles of a member by what it is, for [access.Options].
func Implied(member string) []access.Implied {
	if member == adminName {
		return []access.Implied{{Role: Administrator}}
	}
	if id, ok := strings.CutPrefix(member, projectMember); ok && id != "" {
		return []access.Implied{{Role: ProjectEditor, Scope: "projects/" + id}}
	}
	if name, ok := strings.CutPrefix(member, access.Device); ok {
		if id := resource.Name(name).Project(); id != "" {
			return []access.Implied{{Role: DeviceRole, Scope: "projects/" + id}}
		}
	}
	return nil
}
