// Package metav1 is the contract of the registry of regions, services,
// deployments and types of resources: its types and methods, generated from
// meta.proto, and what makes its objects valid by themselves. The service is
// functions/meta, and sdk/registry is how services use it.
package metav1

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"selvedge.dev/sdk/resource"
)

// The names of the types.
const (
	RegionType     = "meta.selvedge.dev/Region"
	ServiceType    = "meta.selvedge.dev/Service"
	DeploymentType = "meta.selvedge.dev/Deployment"
	ResourceType   = "meta.selvedge.dev/Resource"
)

// Regions are the ids of the regions that the service is in.
func (s *Service) Regions() []string { return s.GetMultiRegionPolicy().GetEnabledRegions() }

// Primary is the id of the service's primary region.
func (s *Service) Primary() string { return s.GetMultiRegionPolicy().GetDefaultControlRegion() }

// Domain is the service's id, "devices.selvedge.dev".
func (s *Service) Domain() string { return resource.Name(s.GetName()).ID() }

// Related are the names of the services that this one imports or uses, sorted.
func (s *Service) Related() []string {
	names := slices.Clone(s.GetUsedServices())
	for _, v := range s.GetVersions() {
		for _, i := range v.GetImports() {
			names = append(names, i.GetService())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// VersionNames are the names of the versions of the service, the newest first.
func (s *Service) VersionNames() []string {
	names := make([]string, len(s.GetVersions()))
	for i, v := range s.GetVersions() {
		names[i] = v.GetVersion()
	}
	return names
}

// Service is the name of the service that is deployed.
func (d *Deployment) Service() string { return string(resource.Name(d.GetName()).Parent()) }

// Region is the id of the region that it is in.
func (d *Deployment) Region() string { return resource.Name(d.GetName()).ID() }

// The stages of a version, the least stable first.
const (
	alpha = iota
	beta
	stable
)

// version is a version as it is ordered: v2 is newer than v2beta3, and that is
// newer than v1.
type version struct{ major, stage, minor int }

// parseVersion reads "v1", "v1beta1" or "v1alpha1".
func parseVersion(s string) (version, bool) {
	rest, ok := strings.CutPrefix(s, "v")
	if !ok {
		return version{}, false
	}
	v := version{stage: stable}
	for stage, name := range []string{alpha: "alpha", beta: "beta"} {
		major, minor, is := strings.Cut(rest, name)
		if !is {
			continue
		}
		rest, v.stage = major, stage
		if v.minor, ok = number(minor); !ok {
			return version{}, false
		}
		break
	}
	v.major, ok = number(rest)
	return v, ok
}

// number reads a number from 1 on, without leading zeros.
func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil && s[0] != '0'
}

// CompareVersions orders versions of an API, the newest first. What is no
// version comes last.
func CompareVersions(a, b string) int {
	x, isX := parseVersion(a)
	y, isY := parseVersion(b)
	if !isX || !isY {
		return cmp.Or(compareBool(isX, isY), cmp.Compare(a, b))
	}
	return cmp.Or(cmp.Compare(y.major, x.major), cmp.Compare(y.stage, x.stage), cmp.Compare(y.minor, x.minor))
}

// compareBool orders true before false.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
