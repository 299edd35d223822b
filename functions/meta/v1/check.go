package metav1

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/resource"
)

// domain is the form of the ids of services: at least two DNS labels.
var domain = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// maxRegions bounds the regions of a service.
const maxRegions = 200

// Check returns an Invalid fault with the field at fault, or nil. What depends
// on other resources is for the service to say.
func (s *Service) Check() error {
	if !domain.MatchString(s.Domain()) {
		return invalid("name", "the id of a service is its domain, such as devices.selvedge.dev: %.200q is none", s.Domain())
	}
	if err := checkEndpoint("endpoint", s.GetEndpoint()); err != nil {
		return err
	}
	if err := s.checkRegions(); err != nil {
		return err
	}
	for i, used := range s.GetUsedServices() {
		if err := s.checkOther(fmt.Sprintf("used_services[%d]", i), used, s.GetUsedServices()[:i]); err != nil {
			return err
		}
	}
	return s.checkVersions()
}

// checkRegions checks the policy.
func (s *Service) checkRegions() error {
	regions := s.Regions()
	if len(regions) == 0 || len(regions) > maxRegions {
		return invalid("multi_region_policy.enabled_regions", "a service is in 1 to %d regions, not %d", maxRegions, len(regions))
	}
	for i, id := range regions {
		if _, err := resource.Pattern("regions/{region}").Parse("regions/" + id); err != nil {
			return invalid("multi_region_policy.enabled_regions", "%q is not the id of a region: %w", id, errors.Unwrap(err))
		}
		if slices.Contains(regions[:i], id) {
			return invalid("multi_region_policy.enabled_regions", "the region %s comes twice", id)
		}
	}
	if !slices.Contains(regions, s.Primary()) {
		return invalid("multi_region_policy.default_control_region", "the primary region %q is not one of the service's regions", s.Primary())
	}
	return nil
}

// checkVersions checks the versions and what they import.
func (s *Service) checkVersions() error {
	names := s.VersionNames()
	for i, v := range s.GetVersions() {
		at := fmt.Sprintf("versions[%d]", i)
		if _, ok := parseVersion(v.GetVersion()); !ok {
			return invalid(at+".version", "%.100q is no version such as v1 or v1beta1", v.GetVersion())
		}
		if i > 0 && CompareVersions(names[i-1], names[i]) >= 0 {
			return invalid(at+".version", "the versions are to be there once, the newest first: %s comes after %s", names[i], names[i-1])
		}
		var seen []string
		for j, imported := range v.GetImports() {
			at := fmt.Sprintf("%s.imports[%d]", at, j)
			if err := s.checkOther(at+".service", imported.GetService(), seen); err != nil {
				return err
			}
			seen = append(seen, imported.GetService())
			for k, name := range imported.GetVersions() {
				if _, ok := parseVersion(name); !ok || slices.Contains(imported.GetVersions()[:k], name) {
					return invalid(at+".versions", "%.100q is no version, or is there twice", name)
				}
			}
		}
	}
	return nil
}

// checkOther checks the name of another service, which must not be in seen.
func (s *Service) checkOther(field, name string, seen []string) error {
	n, err := resource.Pattern("services/{service}").Parse(name)
	switch {
	case err != nil:
		return invalid(field, "%w", errors.Unwrap(err))
	case !domain.MatchString(n.ID()):
		return invalid(field, "%.200q is not the domain of a service", n.ID())
	case name == s.GetName():
		return invalid(field, "a service neither imports nor uses itself")
	case slices.Contains(seen, name):
		return invalid(field, "%s comes twice", name)
	}
	return nil
}

// Check returns an Invalid fault with the field at fault, or nil.
func (d *Deployment) Check() error {
	if err := checkEndpoint("endpoint", d.GetEndpoint()); err != nil {
		return err
	}
	if err := checkEndpoint("private_endpoint", d.GetPrivateEndpoint()); err != nil {
		return err
	}
	if d.GetPrivateEndpoint() != "" && d.GetLocalNetwork() == "" {
		return invalid("local_network", "who has a private endpoint says in which local network it is")
	}
	for field, v := range map[string]string{
		"current_version": d.GetCurrentVersion(), "db_data_version": d.GetDbDataVersion(), "upgrade_state.target_version": d.GetUpgradeState().GetTargetVersion(),
	} {
		if _, ok := parseVersion(v); v != "" && !ok {
			return invalid(field, "%.100q is no version such as v1 or v1beta1", v)
		}
	}
	return nil
}

// Check returns an Invalid fault with the field at fault, or nil.
func (r *Resource) Check() error {
	name := resource.Name(r.GetName())
	service := name.Parent().ID()
	if kind, ok := strings.CutPrefix(r.GetType(), service+"/"); !ok || kind == "" {
		return invalid("type", "the types of %s are called %s/…, not %.200q", service, service, r.GetType())
	}
	for i, v := range r.GetVersions() {
		at := fmt.Sprintf("versions[%d]", i)
		switch _, ok := parseVersion(v.GetVersion()); {
		case !ok:
			return invalid(at+".version", "%.100q is no version such as v1 or v1beta1", v.GetVersion())
		case i > 0 && CompareVersions(r.GetVersions()[i-1].GetVersion(), v.GetVersion()) >= 0:
			return invalid(at+".version", "the versions are to be there once, the newest first")
		case len(v.GetPatterns()) == 0:
			return invalid(at+".patterns", "a type has at least one form of names")
		}
	}
	return nil
}

// checkEndpoint checks an address: "" is none.
func checkEndpoint(field, s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return invalid(field, "an endpoint is an address such as https://devices.example.com, without a user, a query or a fragment")
	}
	return nil
}

// invalid is an Invalid fault of a field.
func invalid(field, format string, args ...any) error {
	return &fault.Error{Op: "metav1.Check", Kind: fault.Invalid, Reason: "INVALID_FIELD", Field: field, Err: fmt.Errorf(format, args...)}
}
