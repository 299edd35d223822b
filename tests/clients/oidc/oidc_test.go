package oidc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"selvedge.dev/tests/process"
)

// selvedge is the program under test, built once by TestMain; installed is the
// folder that the provider is in, "" if it cannot be installed since missing is.
var (
	selvedge, installed string
	missing             error
)

// TestMain builds the program and installs the provider.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, dir string) (err error) {
		if selvedge, err = process.Build(ctx, dir, "local"); err != nil {
			return err
		}
		if installed, err = process.InstallNode(ctx, "oidc", "provider.mjs"); errors.Is(err, exec.ErrNotFound) {
			missing, err = err, nil
		}
		return err
	}))
}

// platform runs the program until the test ends.
func platform(t *testing.T, args ...string) *process.Platform {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := process.Start(ctx, selvedge, t.TempDir(), args...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Kill()) })
	return p
}

// call makes a request as the holder of a key, which must succeed, and decodes
// the answer.
func call(t *testing.T, p *process.Platform, key, method, path string, in, out any) {
	t.Helper()
	status, body := try(t, p, key, method, path, in)
	require.Equal(t, http.StatusOK, status, "%s %s: %s", method, path, body)
	if out != nil {
		require.NoError(t, json.Unmarshal(body, out), "%s", body)
	}
}

// try is call of what may be refused.
func try(t *testing.T, p *process.Platform, key, method, path string, in any) (int, []byte) {
	t.Helper()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		require.NoError(t, err)
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, body)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, got
}

// answer is that of the token endpoint.
type answer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
}

// verified is what a token says to a program that has read nothing but what the
// platform publishes.
func verified(t *testing.T, p *process.Platform, token string) jwt.MapClaims {
	t.Helper()
	var about struct {
		Issuer string
		Keys   string `json:"jwks_uri"`
		Token  string `json:"token_endpoint"`
	}
	call(t, p, "", http.MethodGet, "/.well-known/openid-configuration", nil, &about)
	require.Equal(t, p.URL+"/v1/token", about.Token)
	var set struct{ Keys []map[string]string }
	call(t, p, "", http.MethodGet, strings.TrimPrefix(about.Keys, p.URL), nil, &set)
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(tok *jwt.Token) (any, error) {
		for _, k := range set.Keys {
			if k["kid"] == tok.Header["kid"] {
				x, err := base64.RawURLEncoding.DecodeString(k["x"])
				return ed25519.PublicKey(x), err
			}
		}
		return nil, errors.New("no such key")
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer(about.Issuer), jwt.WithAudience(about.Issuer), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	require.NoError(t, err)
	return claims
}

// A stock library makes what a service account is known by, and reads the token
// that it is exchanged for. SPEC A3
func TestTokens_StockLibrary(t *testing.T) {
	t.Parallel()
	p := platform(t)
	const account = "projects/p/serviceAccounts/robot"
	call(t, p, process.AdminKey, http.MethodPost, "/v1/projects/p/serviceAccounts?serviceAccountId=robot", map[string]any{}, nil)
	var key struct{ KeyID, Secret string }
	call(t, p, process.AdminKey, http.MethodPost, "/v1/"+account+"/serviceAccountKeys", map[string]any{"algorithm": "RSA_2048"}, &key)
	block, _ := pem.Decode([]byte(key.Secret))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	var about struct{ Issuer string }
	call(t, p, "", http.MethodGet, "/.well-known/openid-configuration", nil, &about)
	assertion := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": account, "sub": account, "aud": about.Issuer, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	assertion.Header["kid"] = key.KeyID
	text, err := assertion.SignedString(private)
	require.NoError(t, err)
	resp, err := http.PostForm(p.URL+"/v1/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {text}})
	require.NoError(t, err)
	var got answer
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "Bearer", got.TokenType)
	require.Equal(t, account, verified(t, p, got.AccessToken)["sub"])

	const path = "/v1/projects/p/serviceAccounts/robot"
	for _, token := range []string{text, got.AccessToken} {
		status, _ := try(t, p, token, http.MethodGet, path, nil)
		require.Equal(t, http.StatusForbidden, status)
	}
	call(t, p, process.AdminKey, http.MethodPost, "/v1/projects/p/roleBindings", map[string]any{
		"role": "services/iam.selvedge.dev/roles/viewer", "members": []string{"serviceAccount:" + account},
	}, nil)
	for _, token := range []string{text, got.AccessToken} {
		call(t, p, token, http.MethodGet, path, nil, nil)
	}
}

// provider runs the provider until the test ends. Its issuer is known at once;
// it answers when it was told where people are sent back to.
func provider(t *testing.T, secret string) (issuer string, begin func(redirect string)) {
	t.Helper()
	if missing != nil {
		if os.Getenv(process.RequireNode) != "" {
			t.Fatalf("%s is set, but %v", process.RequireNode, missing)
		}
		t.Skipf("NOT TESTED: an OpenID Connect provider. %v; install Node 18 or later and npm", missing)
	}
	cmd := exec.Command("node", filepath.Join(installed, "provider.mjs"), secret)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, in.Close()) // it ends
		require.NoError(t, cmd.Wait())
	})
	lines := bufio.NewScanner(out)
	read := func(prefix string) string {
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return rest
			}
		}
		t.Fatalf("the provider did not say %q: %v", prefix, lines.Err())
		return ""
	}
	issuer = "http://127.0.0.1:" + read("port ")
	return issuer, func(redirect string) {
		_, err := fmt.Fprintln(in, redirect)
		require.NoError(t, err)
		read("ready")
	}
}

// action is where the form of a page goes.
var action = regexp.MustCompile(`action="([^"]+)"`)

// signIn signs a person in as a browser does, and returns what he ends with.
func signIn(t *testing.T, p *process.Platform, person string) (status int, body []byte) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	resp, err := browser.Get(p.URL + "/v1/signin")
	for err == nil {
		body, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		if strings.HasPrefix(resp.Request.URL.String(), p.URL) {
			return resp.StatusCode, body
		}
		to := action.FindSubmatch(body)
		require.NotNil(t, to, "%s: %s", resp.Request.URL, body)
		form := url.Values{"prompt": {"consent"}}
		if strings.Contains(string(body), `value="login"`) {
			form = url.Values{"prompt": {"login"}, "login": {person}, "password": {"x"}}
		}
		resp, err = browser.PostForm(string(to[1]), form)
	}
	require.NoError(t, err)
	return 0, nil
}

// A person signs in at a real provider: by the address that it verified the
// first time, then by the identity. Nobody else does. SPEC A3
func TestSignIn_RealProvider(t *testing.T) {
	t.Parallel()
	secret := rand.Text() + rand.Text()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	issuer, begin := provider(t, secret)
	p := platform(t, "--oidc-issuer", issuer, "--oidc-client-id", "selvedge", "--oidc-client-secret-file", file)
	begin(p.URL + "/v1/signin/callback")
	refused := func(person, reason string) {
		t.Helper()
		status, body := signIn(t, p, person)
		require.Equal(t, http.StatusUnauthorized, status, "%s", body)
		require.Contains(t, string(body), reason)
	}
	refused("ada", "NO_ACCOUNT")
	call(t, p, process.AdminKey, http.MethodPost, "/v1/users?userId=ada", map[string]any{"email": "ada@example.com"}, nil)
	refused("unverified-ada", "NO_ACCOUNT")

	status, body := signIn(t, p, "ada")
	require.Equal(t, http.StatusOK, status, "%s", body)
	var got answer
	require.NoError(t, json.Unmarshal(body, &got))
	first := got.AccessToken
	claims := verified(t, p, first)
	require.Equal(t, []any{"users/ada", "ada@example.com"}, []any{claims["sub"], claims["email"]})
	var mine struct{ Member string }
	call(t, p, got.AccessToken, http.MethodGet, "/v1/permissions:mine", nil, &mine)
	require.Equal(t, "user:ada@example.com", mine.Member)

	// Known by the identity from now on, and by the address to nobody else.
	var user struct {
		Identities []struct{ Issuer, Subject string }
	}
	call(t, p, process.AdminKey, http.MethodGet, "/v1/users/ada", nil, &user)
	require.Equal(t, issuer, user.Identities[0].Issuer)
	require.Equal(t, "ada", user.Identities[0].Subject)
	call(t, p, process.AdminKey, http.MethodPatch, "/v1/users/ada", map[string]any{"email": "countess@example.com"}, nil)
	status, body = signIn(t, p, "ada")
	require.Equal(t, http.StatusOK, status, "%s", body)
	refused("countess", "NO_ACCOUNT") // another identity of that provider

	// Who was invited becomes a user by signing in, with the role.
	refused("grace", "NO_ACCOUNT")
	call(t, p, process.AdminKey, http.MethodPost, "/v1/projects/p/invitations", map[string]any{"email": "grace@example.com", "role": "services/iam.selvedge.dev/roles/viewer"}, nil)
	refused("unverified-grace", "NO_ACCOUNT")
	status, body = signIn(t, p, "grace")
	require.Equal(t, http.StatusOK, status, "%s", body)
	require.NoError(t, json.Unmarshal(body, &got))
	call(t, p, got.AccessToken, http.MethodGet, "/v1/projects/p/devices", nil, nil)

	// A sign-in that was begun elsewhere is ended by nobody.
	status, body = try(t, p, "", http.MethodGet, "/v1/signin/callback?code=x&state=y", nil)
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, string(body), "NO_SIGN_IN")
	call(t, p, process.AdminKey, http.MethodPatch, "/v1/users/ada", map[string]any{"state": "DISABLED"}, nil)
	refused("ada", "ACCOUNT_DISABLED")
	status, _ = try(t, p, first, http.MethodGet, "/v1/permissions:mine", nil)
	require.Equal(t, http.StatusUnauthorized, status)
}
