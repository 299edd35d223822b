package messenger_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/messenger"
	messengerv1 "selvedge.dev/functions/messenger/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/outbox"
)

// provider is a stand-in of a provider: it takes what it is told to.
type provider struct {
	*httptest.Server
	mu sync.Mutex
	// refuse is the status for a number, others get 201.
	refuse map[string]int
	got    []*http.Request
	bodies []string
}

// newProvider starts a provider.
func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{refuse: map[string]int{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		form, _ := url.ParseQuery(string(body))
		p.mu.Lock()
		defer p.mu.Unlock()
		if status := p.refuse[form.Get("To")]; status != 0 {
			w.WriteHeader(status)
			return
		}
		p.got, p.bodies = append(p.got, r), append(p.bodies, string(body))
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(p.Close)
	return p
}

// begin starts the function.
func begin(t *testing.T, env map[string]string) *messenger.Function {
	t.Helper()
	f := messenger.New()
	f.Dir = t.TempDir()
	require.NoError(t, f.Start(t.Context(), env))
	t.Cleanup(func() { require.NoError(t, f.Stop(t.Context())) })
	return f
}

// asking is an event that asks for a message.
func asking(t *testing.T, id string, data any) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource(event.Source("functions/reason"))
	e.SetType(messengerv1.TypeSMS)
	e.SetExtension(event.Project, "p")
	require.NoError(t, e.SetData("application/json", data))
	return e
}

// hot is a message about a device.
func hot(to ...string) messengerv1.SMS {
	return messengerv1.SMS{To: to, Text: "{{.Data.device}} is \"hot\"", Data: map[string]any{"device": "pump & co"}}
}

// The form that Twilio takes, once for each number, however often the event
// comes. SPEC C9
func TestHandle_Form(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	f := begin(t, map[string]string{
		"MESSENGER_URL": strings.Replace(p.URL, "http://", "http://AC1:t0ken@", 1) + "/2010-04-01/Accounts/AC1/Messages.json", "MESSENGER_FROM": "+15005550006",
	})
	p.refuse["+41790000002"] = http.StatusServiceUnavailable
	e := asking(t, "1", hot("+41790000001", "+41790000002", "+41790000003"))
	_, err := f.Handle(t.Context(), e)
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	require.Len(t, p.got, 2, "one that waits keeps no other from it")
	delete(p.refuse, "+41790000002")
	for range 2 {
		_, err = f.Handle(t.Context(), e)
		require.NoError(t, err)
	}
	require.Equal(t, []string{
		"Body=pump+%26+co+is+%22hot%22&From=%2B15005550006&To=%2B41790000001",
		"Body=pump+%26+co+is+%22hot%22&From=%2B15005550006&To=%2B41790000003",
		"Body=pump+%26+co+is+%22hot%22&From=%2B15005550006&To=%2B41790000002",
	}, p.bodies)
	r := p.got[0]
	user, password, _ := r.BasicAuth()
	require.Equal(t, []string{"/2010-04-01/Accounts/AC1/Messages.json", "AC1", "t0ken", "application/x-www-form-urlencoded", outbox.ID("p", "//selvedge.dev/functions/reason", "1", "+41790000001")},
		[]string{r.URL.Path, user, password, r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key")})

	p.refuse["+41790000004"] = http.StatusBadRequest
	_, err = f.Handle(t.Context(), asking(t, "2", hot("+41790000004")))
	require.Equal(t, "REFUSED_BY_PROVIDER", fault.ReasonOf(err))
	_, err = f.Handle(t.Context(), asking(t, "3", hot("+41790000004", "+41790000005")))
	require.NoError(t, err)
	require.Equal(t, outbox.Counts{Sent: 4, Duplicate: 5, Refused: 2, Failed: 1}, f.Outbox.Counts())
	for _, status := range []int{301, 401, 403, 408, 429, 500, 502} {
		p.refuse["+41790000006"] = status
		_, err = f.Handle(t.Context(), asking(t, "4", hot("+41790000006")))
		require.True(t, fault.Retried(fault.KindOf(err).EventStatus()), "%d: %v", status, err)
		require.NotContains(t, err.Error(), "t0ken")
	}
}

// A body of one's own.
func TestHandle_Body(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	f := begin(t, map[string]string{
		"MESSENGER_URL": p.URL + "/sms", "MESSENGER_FROM": "me", "MESSENGER_AUTHORIZATION": "Bearer t", "MESSENGER_BODY": `{"dest": {{.Data.to}}, "src": {{.Data.from}}, "msg": {{.Data.text}}}`,
	})
	_, err := f.Handle(t.Context(), asking(t, "1", hot("+41790000001")))
	require.NoError(t, err)
	require.JSONEq(t, `{"dest":"+41790000001","src":"me","msg":"pump & co is \"hot\""}`, p.bodies[0])
	require.Equal(t, []string{"application/json", "Bearer t"}, []string{p.got[0].Header.Get("Content-Type"), p.got[0].Header.Get("Authorization")})
}

func TestHandle_Refuses(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	f := begin(t, map[string]string{"MESSENGER_URL": p.URL, "MESSENGER_RATE": "1"})
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
	ok := hot("+41790000001")
	check("FROM_OUTSIDE", ok, func(e *event.Event) { e.SetExtension(event.Route, event.RouteProcessor) })
	check("NO_PROJECT", ok, func(e *event.Event) { e.SetExtension(event.Project, nil) })
	check("MALFORMED_SMS", "x", nil)
	check("MALFORMED_SMS", map[string]any{"too": 1}, nil)
	check("INVALID_NUMBER", hot(), nil)
	check("INVALID_NUMBER", hot("0791234567"), nil)
	check("INVALID_NUMBER", hot(make([]string, 51)...), nil)
	check("INVALID_TEMPLATE", messengerv1.SMS{To: ok.To, Text: "{{"}, nil)
	check("INVALID_TEXT", messengerv1.SMS{To: ok.To, Text: " "}, nil)
	check("INVALID_TEXT", messengerv1.SMS{To: ok.To, Text: strings.Repeat("x", 1601)}, nil)
	require.Empty(t, p.got)
	_, err := f.Handle(t.Context(), asking(t, "1", ok))
	require.NoError(t, err)
	_, err = f.Handle(t.Context(), asking(t, "2", ok))
	require.Equal(t, "RATE_LIMITED", fault.ReasonOf(err))

	none := messenger.New()
	require.NoError(t, none.Start(t.Context(), nil))
	_, err = none.Handle(t.Context(), asking(t, "1", ok))
	require.Equal(t, "NO_PROVIDER", fault.ReasonOf(err))
	require.NoError(t, none.Stop(t.Context()))
	for _, env := range []map[string]string{
		{"MESSENGER_URL": "ftp://x"},
		{"MESSENGER_URL": "sns://"},
		{"MESSENGER_URL": "http://user:secret@x:y"},
		{"MESSENGER_URL": "http://x", "MESSENGER_RATE": "x"},
		{"MESSENGER_URL": "http://x", "MESSENGER_BODY": "{{"},
		{"MESSENGER_URL": "http://x", "MESSENGER_CONTENT_TYPE": "/"},
	} {
		err := messenger.New().Start(t.Context(), env)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}

// What SNS gets is signed, and its answers are understood. Its stand-in here
// checks the signature and the form of requests, as its API reference has them;
// the service itself has not been asked. SPEC C9
func TestSNS(t *testing.T) {
	t.Parallel()
	var form url.Values
	code := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !signed(t, r, body) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		form, _ = url.ParseQuery(string(body))
		w.Header().Set("Content-Type", "text/xml")
		if code != "" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>`+code+`</Code><Message>no</Message></Error></ErrorResponse>`)
			return
		}
		_, _ = io.WriteString(w, `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`)
	}))
	t.Cleanup(s.Close)
	f := begin(t, map[string]string{"MESSENGER_URL": "sns://AKID:S3CRET@eu-central-1?endpoint=" + url.QueryEscape(s.URL), "MESSENGER_FROM": "Selvedge"})
	_, err := f.Handle(t.Context(), asking(t, "1", hot("+41790000001")))
	require.NoError(t, err)
	require.Equal(t, []string{"Publish", "+41790000001", `pump & co is "hot"`, "AWS.SNS.SMS.SenderID", "Selvedge"}, []string{
		form.Get("Action"), form.Get("PhoneNumber"), form.Get("Message"), form.Get("MessageAttributes.entry.1.Name"), form.Get("MessageAttributes.entry.1.Value.StringValue"),
	})
	for reason, kind := range map[string]fault.Kind{"InvalidParameter": fault.Invalid, "OptedOut": fault.Invalid, "Throttled": fault.Unavailable, "AuthorizationError": fault.Unavailable} {
		code = reason
		_, err := f.Handle(t.Context(), asking(t, "2", hot("+41790000001")))
		require.Equal(t, kind, fault.KindOf(err), "%s: %v", reason, err)
	}
}

// signed reports whether a request is signed with the secret, by signing it
// again.
func signed(t *testing.T, r *http.Request, body []byte) bool {
	t.Helper()
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	require.NoError(t, err)
	again, err := http.NewRequestWithContext(t.Context(), r.Method, "http://"+r.Host+r.URL.Path, strings.NewReader(string(body)))
	require.NoError(t, err)
	_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	list, _, _ = strings.Cut(list, ",")
	for name := range strings.SplitSeq(list, ";") {
		if v := r.Header.Get(name); v != "" {
			again.Header.Set(name, v)
		}
	}
	sum := sha256.Sum256(body)
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "S3CRET"}, again, hex.EncodeToString(sum[:]), "sns", "eu-central-1", at))
	return again.Header.Get("Authorization") == r.Header.Get("Authorization")
}
