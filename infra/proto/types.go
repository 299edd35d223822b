package main

import (
	"fmt"
	"slices"
	"strings"

	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
)

// typ is a type of resource as the templates see it.
type typ struct{ *schema.Resource }

// Kind is the singular in upper camel case.
func (t typ) Kind() string { return upper(t.Singular) }

// Kinds is the plural in upper camel case.
func (t typ) Kinds() string { return upper(t.Plural) }

// Word and Words are the singular and the plural in prose.
func (t typ) Word() string { return strings.ReplaceAll(t.Field(), "_", " ") }

// Words is the plural in prose.
func (t typ) Words() string { return strings.ReplaceAll(t.Fields(), "_", " ") }

// One is the singular with its article. OneUpper begins a sentence with it.
func (t typ) One() string {
	if strings.ContainsAny(t.Singular[:1], "aeio") {
		return "an " + t.Word()
	}
	return "a " + t.Word()
}

// OneUpper is One at the beginning of a sentence.
func (t typ) OneUpper() string { return upper(t.One()) }

// Has reports whether the type has a standard method.
func (t typ) Has(method string) bool {
	return !slices.Contains(t.Options.GetWithout(), resourcev1.Method(resourcev1.Method_value[method]))
}

// served reports whether the type has any standard method, shown whether it has
// one that has an object of it in a message.
func (t typ) served() bool { return t.shown() || t.Has("DELETE") }

// shown is described at served.
func (t typ) shown() bool {
	return slices.ContainsFunc([]string{"GET", "BATCH_GET", "LIST", "SEARCH", "CREATE", "UPDATE", "WATCH"}, t.Has)
}

// Names are the templates of URLs of objects.
func (t typ) Names() []string { return t.named("name") }

// FieldNames are the templates of URLs of objects that are a field.
func (t typ) FieldNames() []string { return t.named(t.Field() + ".name") }

// named are the templates of URLs of objects whose name is in a field.
func (t typ) named(field string) []string {
	var out []string
	for _, p := range t.Patterns {
		out = append(out, "{"+field+"="+wild(string(p))+"}")
	}
	return out
}

// Collections are the templates of URLs of collections.
func (t typ) Collections() []string {
	var out []string
	for _, p := range t.Patterns {
		c := p.Collection()
		if parent := wild(parentOf(string(p))); parent != "" {
			c = "{parent=" + parent + "}/" + c
		}
		out = append(out, c)
	}
	return out
}

// HTTP is the option google.api.http of a method that has a URL for each of the
// templates.
func (t typ) HTTP(verb string, templates []string, suffix, body string) string {
	var b strings.Builder
	for i, s := range templates {
		indent := "      "
		if i > 0 {
			b.WriteString("      additional_bindings: {\n")
			indent += "  "
		}
		fmt.Fprintf(&b, "%s%s: \"/%s/%s%s\"\n", indent, verb, t.Service.Version, s, suffix)
		if body != "" {
			fmt.Fprintf(&b, "%sbody: %q\n", indent, body)
		}
		if i > 0 {
			b.WriteString("      }\n")
		}
	}
	if len(templates) == 1 && body == "" {
		return "{" + strings.TrimSpace(b.String()) + "}"
	}
	return "{\n" + b.String() + "    }"
}

// child is what a field with the parent of a type's objects says.
type child struct {
	typ
	// Number is the field's.
	Number int
	// Top is whether there are objects without a parent.
	Top bool
}

// Child is the field with the parent.
func (t typ) Child(number int) child {
	return child{t, number, slices.ContainsFunc(t.Collections(), func(c string) bool { return !strings.Contains(c, "/") })}
}

// parentOf is a pattern without its last collection and id.
func parentOf(pattern string) string {
	parts := strings.Split(pattern, "/")
	return strings.Join(parts[:max(0, len(parts)-2)], "/")
}

// wild is a pattern with "*" for its variables.
func wild(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, "/")
}

// upper is a lower camel case name in upper camel case.
func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
