package emailer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/emailer"
	emailerv1 "selvedge.dev/functions/emailer/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/outbox"
)

// begin starts the function with a provider.
func begin(t *testing.T, dir, providerURL string, env ...string) *emailer.Function {
	t.Helper()
	f := emailer.New()
	f.Dir = dir
	all := map[string]string{"EMAIL_URL": providerURL, "EMAIL_FROM": "Selvedge <noreply@example.com>"}
	for i := 0; i < len(env); i += 2 {
		all[env[i]] = env[i+1]
	}
	require.NoError(t, f.Start(t.Context(), all))
	t.Cleanup(func() { require.NoError(t, f.Stop(t.Context())) })
	return f
}

// at is the URL of a server.
func (s *server) at(scheme, password string) string {
	return scheme + "://user:" + url.QueryEscape(password) + "@" + s.address + "?ca=" + url.QueryEscape(s.ca)
}

// asking is an event that asks for an e-mail.
func asking(t *testing.T, id string, data any) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource(event.Source("functions/reason"))
	e.SetType(emailerv1.TypeEmail)
	e.SetExtension(event.Project, "p")
	require.NoError(t, e.SetData("application/json", data))
	return e
}

// hot is an e-mail about a device.
func hot() emailerv1.Email {
	return emailerv1.Email{
		To: []string{"Ops <ops@example.com>"}, Cc: []string{"cc@example.com"}, Bcc: []string{"bcc@example.com"}, ReplyTo: "help@example.com",
		Subject: "{{.Data.device}} is hot\r\nBcc: evil@example.com", Text: "{{.Data.device}}: {{.Data.value}}", HTML: "<b>{{.Data.device}}</b>",
		Data: map[string]any{"device": "<pump>", "value": 31.5},
	}
}

// An e-mail as a server that is not ours gets it, over TLS of both kinds. SPEC C10
func TestHandle_Sends(t *testing.T) {
	t.Parallel()
	for scheme, within := range map[string]bool{"smtp": false, "smtps": true} {
		s := newServer(t, within)
		f := begin(t, t.TempDir(), s.at(scheme, "p@ss"))
		for range 2 { // the second time it is known
			reply, err := f.Handle(t.Context(), asking(t, "1", hot()))
			require.NoError(t, err)
			require.Nil(t, reply)
		}
		mails := s.mails()
		require.Len(t, mails, 1)
		m := mails[0]
		require.Equal(t, "noreply@example.com", m.from)
		require.Equal(t, []string{"ops@example.com", "cc@example.com", "bcc@example.com"}, m.to)
		require.Equal(t, "<pump> is hot Bcc: evil@example.com", m.Header.Get("Subject"))
		require.Equal(t, `"Ops" <ops@example.com>`, m.Header.Get("To"))
		require.Empty(t, m.Header.Get("Bcc"))
		require.Equal(t, "<help@example.com>", m.Header.Get("Reply-To"))
		require.Equal(t, "<"+outbox.ID("p", "//selvedge.dev/functions/reason", "1")+"@example.com>", m.Header.Get("Message-ID"))
		require.Contains(t, m.Header.Get("Content-Type"), "multipart/alternative")
		require.Contains(t, m.body, "<pump>: 31.5")
		require.Contains(t, m.body, "<b>&lt;pump&gt;</b>")
		require.Equal(t, outbox.Counts{Sent: 1, Duplicate: 1}, f.Outbox.Counts())
	}
}

// What a server says decides whether the broker tries again. SPEC C10
func TestHandle_Refused(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	f := begin(t, t.TempDir(), s.at("smtp", "p@ss"))
	handle := func(f *emailer.Function, id string, kind fault.Kind, reason string) {
		t.Helper()
		_, err := f.Handle(t.Context(), asking(t, id, hot()))
		require.Equal(t, kind, fault.KindOf(err), "%v", err)
		require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
		require.NotContains(t, err.Error(), "p@ss")
	}
	s.answer(&gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "nobody"}, nil)
	handle(f, "1", fault.Invalid, "REFUSED_BY_SERVER")
	s.answer(&gosmtp.SMTPError{Code: 451, EnhancedCode: gosmtp.EnhancedCode{4, 7, 1}, Message: "later"}, nil)
	handle(f, "2", fault.Unavailable, "SERVER_AWAY")
	s.answer(nil, &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 6, 0}, Message: "spam"})
	handle(f, "3", fault.Invalid, "REFUSED_BY_SERVER")
	require.Equal(t, outbox.Counts{Refused: 2, Failed: 1}, f.Outbox.Counts())
	handle(begin(t, t.TempDir(), s.at("smtp", "wrong")), "4", fault.Unavailable, "SERVER_AWAY")
	handle(begin(t, t.TempDir(), "smtp://user:p%40ss@"+s.address), "5", fault.Unavailable, "SERVER_AWAY") // a certificate of nobody's
	handle(begin(t, t.TempDir(), "smtp://127.0.0.1:1"), "6", fault.Unavailable, "SERVER_AWAY")
	require.Empty(t, s.mails())

	// It comes again, and then it is taken.
	_, err := f.Handle(t.Context(), asking(t, "2", hot()))
	require.NoError(t, err)
	require.Len(t, s.mails(), 1)
	// The server goes without a word after it took it.
	s.mu.Lock()
	s.hangUp = true
	s.mu.Unlock()
	_, err = f.Handle(t.Context(), asking(t, "7", hot()))
	require.NoError(t, err)
	require.Len(t, s.mails(), 2)
}

// A crash between the server's word and our disk sends an e-mail twice, as one.
func TestHandle_CrashAfterSending(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	for range 2 { // nothing is remembered
		_, err := begin(t, t.TempDir(), s.at("smtp", "p@ss")).Handle(t.Context(), asking(t, "1", hot()))
		require.NoError(t, err)
	}
	mails := s.mails()
	require.Len(t, mails, 2)
	require.Equal(t, mails[0].Header.Get("Message-ID"), mails[1].Header.Get("Message-ID"))
}

// Several events of one key become one e-mail, also over a restart. SPEC C10
func TestHandle_Digest(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	dir := t.TempDir()
	email := func(n int) emailerv1.Email {
		return emailerv1.Email{
			To: []string{"ops@example.com"}, Subject: "{{.Count}} alerts", Text: "{{range .Items}}[{{.n}}]{{end}}", Data: map[string]any{"n": n},
			Digest: &emailerv1.Digest{Key: "alerts", Window: "300ms"},
		}
	}
	f := begin(t, dir, s.at("smtp", "p@ss"))
	for i, id := range []string{"1", "2", "2", "3"} {
		_, err := f.Handle(t.Context(), asking(t, id, email(i)))
		require.NoError(t, err)
	}
	require.NoError(t, f.Stop(t.Context()))
	f.Outbox = nil
	require.NoError(t, f.Start(t.Context(), nil))
	require.Eventually(t, func() bool { return len(s.mails()) > 0 }, 20*time.Second, 5*time.Millisecond)
	m := s.mails()[0]
	require.Equal(t, "3 alerts", m.Header.Get("Subject"))
	require.Equal(t, "[0][1][3]", strings.TrimSpace(m.body))
}

func TestHandle_Refuses(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	f := begin(t, t.TempDir(), s.at("smtp", "p@ss"), "EMAIL_RATE", "1")
	check := func(reason string, data any, change func(*event.Event)) {
		t.Helper()
		e := asking(t, "x", data)
		if change != nil {
			change(&e)
		}
		_, err := f.Handle(t.Context(), e)
		require.False(t, fault.Retried(fault.KindOf(err).EventStatus()), "%v", err)
		require.Equal(t, reason, fault.ReasonOf(err), "%v", err)
	}
	edited := func(change func(*emailerv1.Email)) emailerv1.Email {
		m := hot()
		change(&m)
		return m
	}
	check("FROM_OUTSIDE", hot(), func(e *event.Event) { e.SetExtension(event.Route, event.RouteProcessor) })
	check("NO_PROJECT", hot(), func(e *event.Event) { e.SetExtension(event.Project, nil) })
	check("MALFORMED_EMAIL", "x", nil)
	check("MALFORMED_EMAIL", map[string]any{"too": "x"}, nil)
	check("MALFORMED_EMAIL", edited(func(m *emailerv1.Email) { m.Text, m.HTML = "", "" }), nil)
	check("MALFORMED_EMAIL", edited(func(m *emailerv1.Email) { m.Digest = &emailerv1.Digest{Key: "k", Window: "48h"} }), nil)
	check("INVALID_ADDRESS", edited(func(m *emailerv1.Email) { m.To, m.Cc, m.Bcc = nil, nil, nil }), nil)
	check("INVALID_ADDRESS", edited(func(m *emailerv1.Email) { m.To = []string{"a@b\r\nBcc: c@d"} }), nil)
	check("INVALID_ADDRESS", edited(func(m *emailerv1.Email) { m.To = make([]string, 51) }), nil)
	check("INVALID_ADDRESS", edited(func(m *emailerv1.Email) { m.ReplyTo = "nobody" }), nil)
	check("INVALID_TEMPLATE", edited(func(m *emailerv1.Email) { m.Text = "{{range 9}}{{end}}" }), nil)
	check("TEMPLATE_FAILED", edited(func(m *emailerv1.Email) { m.HTML = "{{fixed 99 1.0}}" }), nil)
	require.Empty(t, s.mails())

	_, err := f.Handle(t.Context(), asking(t, "1", hot()))
	require.NoError(t, err)
	_, err = f.Handle(t.Context(), asking(t, "2", hot()))
	require.Equal(t, "RATE_LIMITED", fault.ReasonOf(err))
	require.True(t, fault.Retried(fault.KindOf(err).EventStatus()))

	none := emailer.New()
	require.NoError(t, none.Start(t.Context(), nil))
	_, err = none.Handle(t.Context(), asking(t, "1", hot()))
	require.Equal(t, "NO_PROVIDER", fault.ReasonOf(err))
	require.NoError(t, none.Stop(t.Context()))
}

func TestStart_Refuses(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]map[string]string{
		"EMAIL_FROM": {"EMAIL_URL": "smtp://x"}, "scheme": {"EMAIL_URL": "http://x", "EMAIL_FROM": "a@b"}, "host": {"EMAIL_URL": "smtp://", "EMAIL_FROM": "a@b"},
		"region": {"EMAIL_URL": "ses://", "EMAIL_FROM": "a@b"}, "EMAIL_RATE": {"EMAIL_URL": "smtp://x", "EMAIL_FROM": "a@b", "EMAIL_RATE": "-1"},
		"not a URL": {"EMAIL_URL": "smtp://user:secret@x:y", "EMAIL_FROM": "a@b"}, "no such file": {"EMAIL_URL": "smtp://x?ca=/none", "EMAIL_FROM": "a@b"},
	} {
		err := emailer.New().Start(t.Context(), env)
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "secret")
	}
}

// signed reports whether a request is signed with the secret, by signing it
// again.
func signed(t *testing.T, r *http.Request, body []byte) bool {
	t.Helper()
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	require.NoError(t, err)
	again, err := http.NewRequestWithContext(t.Context(), r.Method, "http://"+r.Host+r.URL.Path, bytes.NewReader(body))
	require.NoError(t, err)
	_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	for name := range strings.SplitSeq(list, ";") {
		if v := r.Header.Get(name); v != "" {
			again.Header.Set(name, v)
		}
	}
	sum := sha256.Sum256(body)
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "S3CRET"}, again, hex.EncodeToString(sum[:]), "ses", "eu-central-1", at))
	return again.Header.Get("Authorization") == r.Header.Get("Authorization")
}

// What SES gets is signed, and its answers are understood. Its stand-in here
// checks the signature and the form of requests, as its API reference has them;
// the service itself has not been asked. SPEC C10
func TestSES(t *testing.T) {
	t.Parallel()
	var status int
	var code string
	var got struct {
		Content     struct{ Raw struct{ Data []byte } }
		Destination struct{ ToAddresses []string }
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v2/email/outbound-emails" || !signed(t, r, body) || json.Unmarshal(body, &got) != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if status != 0 {
			w.Header().Set("X-Amzn-ErrorType", code)
			w.WriteHeader(status)
		}
		_, _ = io.WriteString(w, `{"MessageId":"m1"}`)
	}))
	t.Cleanup(s.Close)
	f := begin(t, t.TempDir(), "ses://AKID:S3CRET@eu-central-1?endpoint="+url.QueryEscape(s.URL))
	_, err := f.Handle(t.Context(), asking(t, "1", hot()))
	require.NoError(t, err)
	require.Equal(t, []string{"ops@example.com", "cc@example.com", "bcc@example.com"}, got.Destination.ToAddresses)
	require.Contains(t, string(got.Content.Raw.Data), "Subject: <pump> is hot")
	require.NotContains(t, string(got.Content.Raw.Data), "bcc@example.com")
	for _, c := range []struct {
		status int
		code   string
		kind   fault.Kind
	}{{400, "MessageRejected", fault.Invalid}, {400, "BadRequestException", fault.Invalid}, {429, "TooManyRequestsException", fault.Unavailable}, {400, "LimitExceededException", fault.Unavailable}, {400, "SendingPausedException", fault.Unavailable}, {403, "AccessDeniedException", fault.Unavailable}, {500, "InternalFailure", fault.Unavailable}} {
		status, code = c.status, c.code
		_, err := f.Handle(t.Context(), asking(t, "2", hot()))
		require.Equal(t, c.kind, fault.KindOf(err), "%s: %v", c.code, err)
		require.NotContains(t, err.Error(), "S3CRET")
	}
}
