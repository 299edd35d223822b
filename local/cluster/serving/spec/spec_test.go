package spec_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
	"selvedge.dev/local/cluster/serving/spec"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
)

// kind is one of the kinds by its name.
func kind(t testing.TB, name string) *object.Kind {
	t.Helper()
	for _, k := range spec.Kinds() {
		if k.Name == name {
			return k
		}
	}
	t.Fatal("no kind ", name)
	return nil
}

// parse is an object from JSON.
func parse(t testing.TB, text string) object.Object {
	t.Helper()
	o, err := object.Parse([]byte(text))
	require.NoError(t, err, text)
	return o
}

// service is a service with the JSON of its container's fields and of its
// template's and its own spec, each begun with a comma.
func service(t testing.TB, container, template, own string) object.Object {
	t.Helper()
	return parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"s","namespace":"p"},
		"spec":{"template":{"spec":{"containers":[{"image":"r.test/a/b:v1"`+container+`}]`+template+`}}`+own+`}}`)
}

// admit has the webhook look at an object.
func admit(t testing.TB, o, old object.Object) error {
	t.Helper()
	ctx := iam.WithPrincipal(context.Background(), iam.Principal{Kind: iam.User, Name: "users/ann"})
	return kind(t, o.KindName()).Admit(ctx, o, old)
}

func TestService_Defaults(t *testing.T) {
	t.Parallel()
	o := service(t, `,"volumeMounts":[{"name":"v","mountPath":"/v"},{"name":"e","mountPath":"/e"}]`,
		`,"volumes":[{"name":"v","secret":{"secretName":"x"}},{"name":"e","emptyDir":{}}]`, "")
	require.NoError(t, admit(t, o, nil))
	want := parse(t, `{"template":{"spec":{
		"containerConcurrency":0,"timeoutSeconds":300,"enableServiceLinks":false,
		"containers":[{"name":"user-container","image":"r.test/a/b:v1","resources":{},
			"readinessProbe":{"successThreshold":1,"tcpSocket":{"port":0}},
			"volumeMounts":[{"name":"v","mountPath":"/v","readOnly":true},{"name":"e","mountPath":"/e"}]}],
		"volumes":[{"name":"v","secret":{"secretName":"x"}},{"name":"e","emptyDir":{}}]}},
		"traffic":[{"latestRevision":true,"percent":100}]}`)
	require.True(t, object.Same(want, o["spec"]), "%v", o["spec"])
	require.Equal(t, map[string]string{spec.CreatorAnnotation: "users/ann", spec.ModifierAnnotation: "users/ann"}, o.Annotations())

	again := o.Clone()
	require.NoError(t, admit(t, again, o))
	require.True(t, object.Same(o, again), "a second look changes nothing")

	slow := service(t, "", `,"timeoutSeconds":600`, "")
	require.NoError(t, admit(t, slow, nil))
	require.EqualValues(t, 300, slow.Int("spec", "template", "spec", "responseStartTimeoutSeconds"))
	probed := service(t, `,"readinessProbe":{"httpGet":{"path":"/r"},"periodSeconds":5}`, "", "")
	require.NoError(t, admit(t, probed, nil))
	list, _ := probed.Get("spec", "template", "spec", "containers").([]any)
	c, _ := list[0].(map[string]any)
	require.True(t, object.Same(parse(t, `{"httpGet":{"path":"/r"},"periodSeconds":5,"successThreshold":1,"failureThreshold":3,"timeoutSeconds":1}`), c["readinessProbe"]))
}

func TestService_Signed(t *testing.T) {
	t.Parallel()
	old := service(t, "", "", "")
	require.NoError(t, admit(t, old, nil))
	old.Set("users/bob", "metadata", "annotations", spec.CreatorAnnotation)
	old.Set("users/bob", "metadata", "annotations", spec.ModifierAnnotation)

	same := service(t, "", "", "")
	require.NoError(t, admit(t, same, old))
	require.Equal(t, old.Annotations(), same.Annotations(), "who changes nothing is not the last who did")
	changed := service(t, `,"env":[{"name":"A","value":"1"}]`, "", "")
	require.NoError(t, admit(t, changed, old))
	require.Equal(t, map[string]string{spec.CreatorAnnotation: "users/bob", spec.ModifierAnnotation: "users/ann"}, changed.Annotations())
	stolen := service(t, "", "", "")
	stolen.Set("users/eve", "metadata", "annotations", spec.CreatorAnnotation)
	require.ErrorContains(t, admit(t, stolen, old), "annotation value is immutable: metadata.annotations."+spec.CreatorAnnotation)
}

// TestService_Refuses has what Knative's webhook refuses, and what means nothing
// on one machine. Each error names the field.
func TestService_Refuses(t *testing.T) {
	t.Parallel()
	const c, s = "spec.template.spec.containers[0]", "spec.template.spec"
	f := func(o object.Object, want string) {
		t.Helper()
		err := admit(t, o, nil)
		require.Error(t, err, want)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Contains(t, err.Error(), want)
	}
	con := func(fields, want string) { t.Helper(); f(service(t, ","+fields, "", ""), want) }
	tem := func(fields, want string) { t.Helper(); f(service(t, "", ","+fields, ""), want) }
	own := func(fields, want string) { t.Helper(); f(service(t, "", "", ","+fields), want) }

	con(`"lifecycle":{}`, "must not set the field(s): "+c+".lifecycle")
	con(`"stdin":true`, "must not set the field(s): "+c+".stdin")
	con(`"image":""`, "missing field(s): "+c+".image")
	con(`"image":"no good"`, `Failed to parse image reference "no good": `+c+".image")
	con(`"env":[{"name":"PORT","value":"1"}]`, `"PORT" is a reserved environment variable: `+c+".env[0].name")
	con(`"env":[{"value":"1"}]`, "missing field(s): "+c+".env[0].name")
	con(`"env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]`, "must not set the field(s): "+c+".env[0].valueFrom.fieldRef")
	con(`"env":[{"name":"A","value":"1","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}]`, c+".env[0].valueFrom")
	con(`"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s"}}}]`, "missing field(s): "+c+".env[0].valueFrom")
	con(`"envFrom":[{}]`, "expected exactly one of configMapRef, secretRef: "+c+".envFrom[0]")
	con(`"ports":[{"containerPort":80},{"containerPort":81}]`, "more than one container port is set: "+c+".ports")
	con(`"ports":[{"name":"grpc"}]`, "Port name grpc is not allowed")
	con(`"ports":[{"containerPort":8012}]`, "8012 is a reserved port")
	con(`"ports":[{"containerPort":65536}]`, "expected 0 <= 65536 <= 65535: "+c+".ports.containerPort")
	con(`"ports":[{"containerPort":80,"protocol":"UDP"}]`, "invalid value: UDP: "+c+".ports.protocol")
	con(`"resources":{"limits":{"nvidia.com/gpu":"1"}}`, c+".resources.limits.nvidia.com/gpu")
	con(`"resources":{"limits":{"memory":"much"}}`, c+".resources.limits.memory")
	con(`"resources":{"limits":{"cpu":-1}}`, c+".resources.limits.cpu")
	con(`"readinessProbe":{"exec":{"command":["x"]}}`, "must not set the field(s): "+c+".readinessProbe.exec")
	con(`"livenessProbe":{"grpc":{"port":1}}`, "must not set the field(s): "+c+".livenessProbe.grpc")
	con(`"livenessProbe":{}`, "expected exactly one of httpGet, tcpSocket: "+c+".livenessProbe")
	con(`"readinessProbe":{"tcpSocket":{},"failureThreshold":2}`, "failureThreshold is disallowed when periodSeconds is zero")
	con(`"readinessProbe":{"tcpSocket":{"port":99}}`, "Probe port must match container port: "+c+".readinessProbe.tcpSocket.port")
	con(`"readinessProbe":{"httpGet":{"host":"elsewhere.test"}}`, c+".readinessProbe.httpGet.host")
	con(`"securityContext":{"privileged":true}`, "must not set the field(s): "+c+".securityContext.privileged")
	con(`"securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}`, "must not set the field(s): "+c+".securityContext.capabilities.add")
	con(`"name":"queue-proxy"`, `"queue-proxy" is a reserved container name: `+c+".name")
	con(`"name":"X"`, "invalid value: X: "+c+".name")
	con(`"securityContext":{"runAsUser":0,"runAsNonRoot":true}`, c+".securityContext.runAsUser")
	con(`"volumeMounts":[{"name":"v","mountPath":"/v"}]`, "volumeMount has no matching volume: "+c+".volumeMounts[0].name")
	con(`"terminationMessagePolicy":"x"`, "invalid value: x: "+c+".terminationMessagePolicy")

	tem(`"hostNetwork":true`, "must not set the field(s): "+s+".hostNetwork")
	tem(`"initContainers":[{}]`, "must not set the field(s): "+s+".initContainers")
	tem(`"nodeSelector":{"a":"b"}`, "must not set the field(s): "+s+".nodeSelector")
	tem(`"terminationGracePeriodSeconds":1`, "must not set the field(s): "+s+".terminationGracePeriodSeconds")
	tem(`"idleTimeoutSeconds":1`, "must not set the field(s): "+s+".idleTimeoutSeconds")
	tem(`"volumes":[{"name":"v","hostPath":{"path":"/"}}]`, "must not set the field(s): "+s+".volumes[0].hostPath")
	tem(`"volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"x"}}]`, "must not set the field(s): "+s+".volumes[0].persistentVolumeClaim")
	tem(`"volumes":[{"name":"v","emptyDir":{}}]`, `volume with name "v" not mounted: `+s+".volumes[0].name")
	tem(`"timeoutSeconds":601`, "expected 0 <= 601 <= 600: "+s+".timeoutSeconds")
	tem(`"responseStartTimeoutSeconds":601`, "expected 0 <= 601 <= 600: "+s+".responseStartTimeoutSeconds")
	tem(`"serviceAccountName":"Not Good"`, "invalid value: Not Good: "+s+".serviceAccountName")
	tem(`"automountServiceAccountToken":true`, "must not set the field(s): "+s+".automountServiceAccountToken")
	tem(`"timeoutSeconds":"x"`, "invalid value: string is no int64: spec.timeoutSeconds")
	tem(`"containerConcurrency":1001`, "expected 0 <= 1001 <= 1000: "+s+".containerConcurrency")

	own(`"traffic":[{"percent":99}]`, "Traffic targets sum to 99, want 100: spec.traffic")
	own(`"traffic":[{"percent":101},{"percent":-1}]`, "expected 0 <= -1 <= 100: spec.traffic[1].percent")
	own(`"traffic":[{"percent":100,"configurationName":"x"}]`, "must not set the field(s): spec.traffic[0].configurationName")
	own(`"traffic":[{"percent":100,"revisionName":"x","latestRevision":true}]`, `may not set revisionName "x" when latestRevision is true`)
	own(`"traffic":[{"percent":50,"tag":"a"},{"percent":50,"tag":"a"}]`, `Multiple definitions for "a"`)
	own(`"traffic":[{"percent":100,"tag":"A"}]`, "not a DNS 1035 label: A: spec.traffic[0].tag")
	own(`"traffic":[{"percent":100,"url":"http://x"}]`, "must not set the field(s): spec.traffic[0].url")
	own(`"traffic":[{"percent":100,"revisionName":"no name"}]`, `invalid key name "no name": spec.traffic[0].revisionName`)
	own(`"traffic":{}`, "spec.traffic")
	own(`"runLatest":{}`, "must not set the field(s): spec.runLatest")

	two := parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"s"},"spec":{"template":{"spec":{"containers":[{"image":"a"},{"image":"b"}]}}}}`)
	f(two, "multi-container is off, but found 2 containers: "+s+".containers")
	f(parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"s"}}`), "missing field(s): spec")
	f(parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"s"},"spec":{}}`), "missing field(s): spec.template")
	f(parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"s"},"spec":{"template":{"spec":{}}}}`), "missing field(s): "+s+".containers")
	dotted := service(t, "", "", "")
	dotted.Set("a.b", "metadata", "name")
	f(dotted, "not a DNS 1035 label: a.b: metadata.name")
}

func TestService_Mounts(t *testing.T) {
	t.Parallel()
	f := func(mounts, volumes, want string) {
		t.Helper()
		err := admit(t, service(t, `,"volumeMounts":[`+mounts+`]`, `,"volumes":[`+volumes+`]`, ""), nil)
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
	const secret = `{"name":"v","secret":{"secretName":"x"}}`
	f(`{"name":"v","mountPath":"/a"},{"name":"v","mountPath":"/b","subPath":"c"}`, secret, "")
	f(`{"name":"v","mountPath":"/a"}`, `{"name":"v","projected":{"sources":[{"secret":{"name":"x"}},{"configMap":{"name":"y","items":[{"key":"k","path":"p"}]}}]}}`, "")
	f(`{"name":"v","mountPath":"/dev"}`, secret, `mountPath "/dev" is a reserved path`)
	f(`{"name":"v","mountPath":"a"}`, secret, "invalid value: a")
	f(`{"name":"v","mountPath":"/a"},{"name":"v","mountPath":"/a/"}`, secret, "must be unique")
	f(`{"name":"v","mountPath":"/a","subPath":"../b"}`, secret, "invalid value: ../b")
	f(`{"name":"v","mountPath":"/a"}`, `{"name":"v"}`, "expected exactly one of secret, configMap, projected, emptyDir")
	f(`{"name":"v","mountPath":"/a"}`, `{"name":"v","secret":{"secretName":"x"},"emptyDir":{}}`, "got 2")
	f(`{"name":"v","mountPath":"/a"}`, `{"name":"v","secret":{}}`, "missing field(s): spec.template.spec.volumes[0].secret.secretName")
	f(`{"name":"v","mountPath":"/a"}`, `{"name":"v","configMap":{"name":"x","items":[{"key":"k","path":"/etc"}]}}`, `items[0].path`)
	f(`{"name":"v","mountPath":"/a"},{"name":"v","mountPath":"/b"}`, `{"name":"v","emptyDir":{}}`, "an emptyDir is mounted once")
	f(`{"name":"v","mountPath":"/a"}`, `{"name":"v","emptyDir":{"sizeLimit":"1Gi","medium":"Memory"}}`, "")
	f(`{"name":"v","mountPath":"/a"}`, `{"name":"v","emptyDir":{"sizeLimit":"x"}}`, "sizeLimit")
}

func TestService_AutoscalingIsOfTheTemplate(t *testing.T) {
	t.Parallel()
	o := service(t, "", "", "")
	o.Set("1", "metadata", "annotations", "autoscaling.knative.dev/min-scale")
	require.ErrorContains(t, admit(t, o, nil), `autoscaling annotations must be put under "spec.template.metadata.annotations" to work`)
	o = service(t, "", "", "")
	o.Set("x", "spec", "template", "metadata", "annotations", "autoscaling.knative.dev/min-scale")
	require.ErrorContains(t, admit(t, o, nil), "invalid value: x: spec.template.metadata.annotations.autoscaling.knative.dev/min-scale")
}

func TestService_RevisionNames(t *testing.T) {
	t.Parallel()
	name := func(name, env string) object.Object {
		o := service(t, env, "", "")
		o.Set(name, "spec", "template", "metadata", "name")
		return o
	}
	old := name("s-one", "")
	require.NoError(t, admit(t, old, nil))
	require.ErrorContains(t, admit(t, name("other", ""), nil), `"other" must have prefix "s-"`)
	require.ErrorContains(t, admit(t, name("s-One", ""), nil), "not a DNS 1035 label")
	require.ErrorContains(t, admit(t, name("s-one", `,"env":[{"name":"A","value":"1"}]`), old), "Saw changes without a name change")
	generated := service(t, "", "", "")
	generated.Set("s-", "spec", "template", "metadata", "generateName")
	require.ErrorContains(t, admit(t, generated, nil), "spec.template.metadata.generateName")
	require.NoError(t, admit(t, name("s-two", `,"env":[{"name":"A","value":"1"}]`), old))
}

func TestRevision_IsNobodysToMake(t *testing.T) {
	t.Parallel()
	o := parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Revision","metadata":{"name":"s-00001"},"spec":{"containers":[]}}`)
	require.ErrorContains(t, admit(t, o, nil), "revisions are created by their Configuration")
	changed := o.Clone()
	changed.Set(json.Number("1"), "spec", "timeoutSeconds")
	require.ErrorContains(t, admit(t, changed, o), "Immutable fields changed")
	labelled := o.Clone()
	labelled.Set("x", "metadata", "labels", "a")
	require.NoError(t, admit(t, labelled, o))
}

func TestRouteAndConfiguration_OfTheirOwn(t *testing.T) {
	t.Parallel()
	route := parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Route","metadata":{"name":"r"},"spec":{"traffic":[{"configurationName":"c","percent":100}]}}`)
	require.NoError(t, admit(t, route, nil))
	require.Equal(t, "users/ann", route.Annotations()[spec.CreatorAnnotation])
	require.ErrorContains(t, admit(t, parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Route","metadata":{"name":"r"},"spec":{"traffic":[{"percent":100}]}}`), nil), "got neither")
	claimed := route.Clone()
	claimed.Set("s", "metadata", "labels", spec.ServiceLabel)
	require.ErrorContains(t, admit(t, claimed, nil), "missing field(s): metadata.labels."+spec.ServiceLabel)
	c := parse(t, `{"apiVersion":"serving.knative.dev/v1","kind":"Configuration","metadata":{"name":"c"},"spec":{"template":{"spec":{"containers":[{"image":"a"}]}}}}`)
	require.NoError(t, admit(t, c, nil))
}

func TestKinds_Columns(t *testing.T) {
	t.Parallel()
	f := func(name, text string, want ...any) {
		t.Helper()
		o := parse(t, text)
		var got []any
		for _, c := range kind(t, name).Columns {
			if !c.Wide {
				got = append(got, c.Of(o))
			}
		}
		require.Equal(t, want, got)
	}
	const ready = `"conditions":[{"type":"Ready","status":"False","reason":"RevisionFailed"}]`
	f("Service", `{"status":{"url":"u","latestCreatedRevisionName":"b","latestReadyRevisionName":"a",`+ready+`}}`, "u", "b", "a", "False", "RevisionFailed")
	f("Configuration", `{"status":{"latestCreatedRevisionName":"b","latestReadyRevisionName":"a",`+ready+`}}`, "b", "a", "False", "RevisionFailed")
	f("Route", `{"status":{"url":"u",`+ready+`}}`, "u", "False", "RevisionFailed")
	f("Revision", `{"metadata":{"labels":{"`+spec.ConfigurationLabel+`":"c","`+spec.GenerationLabel+`":"2"}},"status":{"actualReplicas":1,"desiredReplicas":2,`+ready+`}}`,
		"c", "2", "False", "RevisionFailed", int64(1), int64(2))
	f("Pod", `{"metadata":{"creationTimestamp":"t"},"status":{"phase":"Running","containerStatuses":[{"ready":false,"restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}`,
		"0/1", "CrashLoopBackOff", int64(3))
	f("Pod", `{"metadata":{},"status":{"phase":"Running","containerStatuses":[{"ready":true,"restartCount":0,"state":{"running":{}}}]}}`, "1/1", "Running", int64(0))
	f("Deployment", `{"metadata":{},"spec":{"replicas":2},"status":{"readyReplicas":1,"updatedReplicas":2,"availableReplicas":1}}`, "1/2", int64(2), int64(1))
}

func TestKinds_WhatRunsIsOnlyRead(t *testing.T) {
	t.Parallel()
	for _, k := range spec.Kinds() {
		require.Equal(t, k.Group != spec.Group, k.ReadOnly, k.Name)
		require.True(t, k.Status)
	}
}

func TestQuantity(t *testing.T) {
	t.Parallel()
	f := func(text string, want float64) {
		t.Helper()
		got, err := spec.Quantity(text).Value()
		require.NoError(t, err)
		require.InDelta(t, want, got, 1e-9)
	}
	f("1", 1)
	f("0.5", 0.5)
	f("400m", 0.4)
	f("1k", 1000)
	f("128Mi", 128<<20)
	f("1e3", 1000)
	f("0", 0)
	for _, bad := range []string{"", "x", "1x", "-1", "Mi", "0x1p4", "NaN", "Inf", "1_0", "100E", "1 Mi"} {
		_, err := spec.Quantity(bad).Value()
		require.Error(t, err, bad)
	}
}

// FuzzAdmit has the webhook look at anything: it refuses or accepts, and what it
// accepted it accepts again unchanged.
func FuzzAdmit(f *testing.F) {
	f.Add(`{"template":{"spec":{"containers":[{"image":"a","env":[{"name":"A"}],"ports":[{}],"readinessProbe":{"httpGet":{"port":"http"}}}],"volumes":[{"name":"v"}]}},"traffic":[{"percent":100}]}`)
	f.Add(`{"template":[],"traffic":{}}`)
	f.Add(`{"template":{"metadata":{"annotations":{"autoscaling.knative.dev/window":"6s"}},"spec":{"containers":[null,1]}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := object.Parse([]byte(`{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"s","namespace":"p"},"spec":` + text + `}`))
		if err != nil || strings.Contains(text, "\x00") {
			return
		}
		for _, name := range []string{"Service", "Configuration", "Route", "Revision"} {
			x := o.Clone()
			x["kind"] = name
			if admit(t, x, nil) != nil {
				continue
			}
			again := x.Clone()
			require.NoError(t, admit(t, again, x))
			require.True(t, object.Same(x, again))
		}
	})
}

// TestService_NoEffect takes what means nothing on one machine and harms nobody.
func TestService_NoEffect(t *testing.T) {
	t.Parallel()
	o := service(t, `,"imagePullPolicy":"Always","securityContext":{"privileged":false},"livenessProbe":{"tcpSocket":{},"terminationGracePeriodSeconds":3}`, `,"serviceAccountName":"robot","imagePullSecrets":[{"name":"x"}],"enableServiceLinks":true,"automountServiceAccountToken":false`, "")
	o.Set("10s", "metadata", "annotations", "serving.knative.dev/rollout-duration")
	require.NoError(t, admit(t, o, nil))
	o.Set("1.5s", "metadata", "annotations", "serving.knative.dev/rollout-duration")
	require.ErrorContains(t, admit(t, o, nil), "rollout-duration=1.5s is not at second precision")
}
