package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/reason/calibrate"
	"selvedge.dev/sdk/function"
	"selvedge.dev/sdk/rpc"
)

// mailbox is a server of SMTP that is not ours, which keeps what it gets.
type mailbox struct {
	gosmtp.Session
	mu  sync.Mutex
	got []string
}

// NewSession implements the server's backend.
func (m *mailbox) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return m, nil }

// Mail implements the server's session.
func (*mailbox) Mail(string, *gosmtp.MailOptions) error { return nil }

// Rcpt implements the server's session.
func (*mailbox) Rcpt(string, *gosmtp.RcptOptions) error { return nil }

// Reset implements the server's session.
func (*mailbox) Reset() {}

// Logout implements the server's session.
func (*mailbox) Logout() error { return nil }

// Data implements the server's session.
func (m *mailbox) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, string(b))
	return err
}

// mails are the e-mails that came.
func (m *mailbox) mails() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got
}

// TestReason_FromReadingToMailAndTimer follows a reading through the example
// function, in a server of its own: what it makes of it is saved, an e-mail
// comes, and a timer is set; and a timer fires, over a crash once. SPEC C7, C8, C10
func TestReason_FromReadingToMailAndTimer(t *testing.T) {
	m := &mailbox{}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	smtp := gosmtp.NewServer(m)
	go func() { _ = smtp.Serve(l) }() // it ends with the test
	t.Cleanup(func() { require.NoError(t, smtp.Close()) })
	user := &calibrate.Function{}
	server := httptest.NewServer(function.HTTP(user, function.Options{}))
	t.Cleanup(server.Close)
	t.Setenv("EMAIL_URL", "smtp://"+l.Addr().String()+"?tls=none")
	t.Setenv("EMAIL_FROM", "Selvedge <noreply@example.com>")
	t.Setenv("REASON_ALLOW", server.URL)

	data := t.TempDir()
	p := start(t, data)
	user.Platform = &rpc.Client{URL: p.URL, Key: adminKey}
	call(t, p, http.MethodPost, "/v1/projects/default/scripts", url.Values{"scriptId": {"calibrate"}},
		map[string]any{"uri": server.URL + "/", "params": map[string]string{"offset": "1.5", "mail": "ops@example.com"}}, nil)
	call(t, p, http.MethodPost, "/v1/projects/default/devices", url.Values{"deviceId": {"d1"}}, map[string]any{"route": "reason.calibrate"}, nil)
	accept(t, p, reading("d1", "1", at(10), map[string]any{"temperature": 20}), reading("d1", "2", at(40), map[string]any{"temperature": 30}))
	drained(t, p)
	q := aligned(`metric.type = "com.example.climate/temperature"`, "ALIGN_MAX")
	require.Equal(t, map[string][]point{"com.example.climate/temperature d1": {{at(30), "21.5"}, {at(60), "31.5"}}}, querySeries(t, p, q))
	require.Len(t, m.mails(), 1)
	require.Contains(t, m.mails()[0], "Subject: projects/default/devices/d1 is hot")
	require.Contains(t, m.mails()[0], "31.5 degrees")
	var timer struct {
		Status struct{ State string }
		Event  struct{ Type, Subject string }
	}
	call(t, p, http.MethodGet, "/v1/projects/default/timers/look-again", nil, nil, &timer)
	require.Equal(t, []string{"WAITING", "com.example.look", "projects/default/devices/d1"}, []string{timer.Status.State, timer.Event.Type, timer.Event.Subject})

	// What devices say they are does not make them functions.
	accept(t, p, map[string]any{
		"specversion": "1.0", "id": "evil", "source": "//selvedge.dev/projects/default/devices/d1", "type": "dev.selvedge.email.v1",
		"data": map[string]any{"to": []string{"a@example.com"}, "subject": "x", "text": "x"},
	})
	drained(t, p)
	require.Len(t, m.mails(), 1)
	require.Eventually(t, func() bool { return losses(t, p)["writer NO_NUMERIC_FIELD"] == 1 }, startTimeout, 10*time.Millisecond)
	require.Len(t, losses(t, p), 1)

	fires := func() int {
		var answer struct{ Events []struct{ Subject string } }
		call(t, p, http.MethodGet, "/v1/projects/default/events", url.Values{"type": {"dev.selvedge.alert.v1"}}, nil, &answer)
		n := 0
		for _, e := range answer.Events {
			if strings.HasPrefix(e.Subject, "tick") {
				n++
			}
		}
		return n
	}
	call(t, p, http.MethodPost, "/v1/projects/default/timers", url.Values{"timerId": {"tick"}}, map[string]any{
		"interval": map[string]any{"period": "1s"}, "maxFires": 3, "missed": map[string]any{"policy": "EACH"},
		"event": map[string]any{"type": "dev.selvedge.alert.v1", "subject": "tick", "data": "{}"},
	}, nil)
	require.Eventually(t, func() bool { return fires() > 0 }, startTimeout, 5*time.Millisecond)
	require.NoError(t, p.Kill())
	p = start(t, data)
	require.Eventually(t, func() bool { return fires() == 3 }, startTimeout, 50*time.Millisecond)
	drained(t, p)
	require.Equal(t, 3, fires())
	stop(t, p)
}
