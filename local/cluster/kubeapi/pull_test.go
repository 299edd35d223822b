package kubeapi_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"selvedge.dev/local/cluster/object"
)

// pull asks for the secret that images are pulled with, of a platform by a name,
// and returns the answer's status and whose names of registries it has with
// which password.
func (w *world) pull(host, authorization string) (int, map[string]string) {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, "/api/v1/namespaces/default/secrets/selvedge-registry", nil)
	r.Host = host
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	answer := httptest.NewRecorder()
	w.api.ServeHTTP(answer, r)
	o, err := object.Parse(answer.Body.Bytes())
	require.NoError(w.t, err)
	if answer.Code != http.StatusOK {
		return answer.Code, nil
	}
	require.Equal(w.t, "kubernetes.io/dockerconfigjson", o.Text("type"))
	text, err := base64.StdEncoding.DecodeString(o.Text("data", ".dockerconfigjson"))
	require.NoError(w.t, err)
	var config struct {
		Auths map[string]struct{ Username, Password string }
	}
	require.NoError(w.t, json.Unmarshal(text, &config))
	found := map[string]string{}
	for host, a := range config.Auths {
		require.Equal(w.t, "selvedge", a.Username)
		found[host] = a.Password
	}
	return answer.Code, found
}

// The default account names a secret, which gives back to each caller what he
// asks with, and is listed and kept nowhere.
func TestPullSecret_IsTheCallersOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, account := w.do("GET", "/api/v1/namespaces/default/serviceaccounts/default", "", "")
	require.Equal(t, []any{map[string]any{"name": "selvedge-registry"}}, account["imagePullSecrets"])

	f := func(host, authorization string, want map[string]string) {
		t.Helper()
		status, found := w.pull(host, authorization)
		if want == nil {
			require.Equal(t, http.StatusNotFound, status)
			return
		}
		require.Equal(t, want, found)
	}
	f("127.0.0.1:8080", "Bearer a-key", map[string]string{"127.0.0.1:8080": "a-key", "localhost:8080": "a-key", "[::1]:8080": "a-key"})
	f("localhost:8080", "Bearer b-key", map[string]string{"127.0.0.1:8080": "b-key", "localhost:8080": "b-key", "[::1]:8080": "b-key"})
	f("edge.example.com", "Bearer a-key", map[string]string{"edge.example.com": "a-key"})
	f("edge.example.com:8443", "Bearer a-key", map[string]string{"edge.example.com:8443": "a-key"})
	f("127.0.0.1:8080", "", nil)
	f("127.0.0.1:8080", "Basic YTpi", nil)

	_, list := w.do("GET", "/api/v1/namespaces/default/secrets", "", "")
	require.Empty(t, list["items"])
	w.deny["cluster.secrets.access"] = true
	status, _ := w.pull("127.0.0.1:8080", "Bearer a-key")
	require.Equal(t, http.StatusForbidden, status)
}

// One that somebody made goes first.
func TestPullSecret_OfOnesOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, _ := w.do("POST", "/api/v1/namespaces/default/secrets", "application/json", `{"metadata":{"name":"selvedge-registry"},"type":"kubernetes.io/dockerconfigjson","stringData":{".dockerconfigjson":"{\"auths\":{\"other\":{\"username\":\"selvedge\",\"password\":\"mine\"}}}"}}`)
	require.Equal(t, http.StatusCreated, status)
	_, found := w.pull("127.0.0.1:8080", "Bearer a-key")
	require.Equal(t, map[string]string{"other": "mine"}, found)
}
