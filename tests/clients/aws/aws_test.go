package aws

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/functions/emailer"
	emailerv1 "selvedge.dev/functions/emailer/v1"
	"selvedge.dev/functions/messenger"
	messengerv1 "selvedge.dev/functions/messenger/v1"
	"selvedge.dev/sdk/event"
	"selvedge.dev/tests/process"
)

// installed is the folder of the services, "" if they cannot be installed since
// missing is.
var (
	installed string
	missing   error
)

// TestMain installs the services.
func TestMain(m *testing.M) {
	os.Exit(process.Main(m, func(ctx context.Context, _ string) (err error) {
		if installed, err = process.InstallNode(ctx, "aws", "services.mjs"); errors.Is(err, exec.ErrNotFound) {
			missing, err = err, nil
		}
		return err
	}))
}

// services runs SES and SNS until the test ends, and returns their addresses.
func services(t *testing.T) (ses, sns string) {
	t.Helper()
	if missing != nil {
		if os.Getenv(process.RequireNode) != "" {
			t.Fatalf("%s is set, but %v", process.RequireNode, missing)
		}
		t.Skipf("NOT TESTED: local versions of SES and SNS. %v; install Node 20 or later and npm", missing)
	}
	cmd := exec.Command("node", filepath.Join(installed, "services.mjs"))
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var mail, messages int
	_, err = fmt.Sscanf(line, "ports %d %d", &mail, &messages)
	require.NoError(t, err)
	at := func(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }
	return at(mail), at(messages)
}

// asking is an event with data, as a function replies it.
func asking(t *testing.T, typ, id string, data any) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource(event.Source("functions/reason"))
	e.SetType(typ)
	e.SetExtension(event.Project, "p")
	require.NoError(t, e.SetData("application/json", data))
	return e
}

// provider is the URL of a service of Amazon's that is somewhere else.
func provider(scheme, at string) string {
	return scheme + "://AKID:S3CRET@eu-central-1?endpoint=" + url.QueryEscape(at)
}

// mailbox is what the local SES has taken.
type mailbox struct {
	Emails []struct {
		From, Subject string
		ReplyTo       []string
		Destination   struct{ To, Cc, Bcc []string }
		Body          struct{ Text, HTML string }
	}
}

// TestSES has the emailer send by a local SES, which reads the raw message back.
// SPEC C10
func TestSES(t *testing.T) {
	t.Parallel()
	ses, _ := services(t)
	f := emailer.New()
	f.Dir = t.TempDir()
	require.NoError(t, f.Start(t.Context(), map[string]string{"EMAIL_URL": provider("ses", ses), "EMAIL_FROM": "Selvedge <noreply@example.com>"}))
	t.Cleanup(func() { require.NoError(t, f.Stop(t.Context())) })
	hot := emailerv1.Email{
		To: []string{"Ops <ops@example.com>"}, Cc: []string{"cc@example.com"}, Bcc: []string{"bcc@example.com"}, ReplyTo: "help@example.com",
		Subject: "{{.Data.device}} ist heiß", Text: "{{.Data.device}}: {{fixed 1 .Data.value}} °C\n", HTML: "<b>{{.Data.device}}</b>",
		Data: map[string]any{"device": "pump <1>", "value": 31.25},
	}
	for range 2 { // an event that comes again is not sent again
		_, err := f.Handle(t.Context(), asking(t, emailerv1.TypeEmail, "1", hot))
		require.NoError(t, err)
	}
	resp, err := http.Get(ses + "/store")
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	var got mailbox
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
	require.Len(t, got.Emails, 1)
	m := got.Emails[0]
	require.Equal(t, `"Selvedge" <noreply@example.com>`, m.From)
	require.Equal(t, "pump <1> ist heiß", m.Subject)
	require.Equal(t, []string{"help@example.com"}, m.ReplyTo)
	require.Equal(t, []string{`"Ops" <ops@example.com>`}, m.Destination.To)
	require.Equal(t, []string{"cc@example.com"}, m.Destination.Cc)
	require.Empty(t, m.Destination.Bcc, "nobody reads who else got it")
	require.Equal(t, "pump <1>: 31.2 °C\n", m.Body.Text)
	require.Contains(t, m.Body.HTML, "<b>pump &lt;1&gt;</b>")
}

// TestSNS has the messenger send by a local SNS, which tells the phones that are
// subscribed here what they got. SPEC C9
func TestSNS(t *testing.T) {
	t.Parallel()
	_, sns := services(t)
	got := make(chan string, 10)
	phone := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			got <- string(body)
		}
	}))
	t.Cleanup(phone.Close)
	for _, number := range []string{"+41790000001", "+41790000002"} {
		resp, err := http.PostForm(sns, url.Values{"Action": {"Subscribe"}, "Protocol": {"http"}, "Endpoint": {phone.URL + "/" + number}, "TopicArn": {number}})
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
	}
	f := messenger.New()
	f.Dir = t.TempDir()
	require.NoError(t, f.Start(t.Context(), map[string]string{"MESSENGER_URL": provider("sns", sns), "MESSENGER_FROM": "Selvedge"}))
	t.Cleanup(func() { require.NoError(t, f.Stop(t.Context())) })
	hot := messengerv1.SMS{To: []string{"+41790000001", "+41790000002"}, Text: "{{.Data.device}} ist \"heiß\"", Data: map[string]any{"device": "pump & co"}}
	for range 2 { // an event that comes again is not sent again
		_, err := f.Handle(t.Context(), asking(t, messengerv1.TypeSMS, "1", hot))
		require.NoError(t, err)
	}
	numbers := map[string]bool{}
	for range 2 {
		var m struct {
			TopicArn, Message string
			MessageAttributes map[string]struct{ Type, Value string }
		}
		select {
		case text := <-got:
			require.NoError(t, json.Unmarshal([]byte(text), &m), "%s", text)
		case <-time.After(20 * time.Second):
			t.Fatal("no message came")
		}
		numbers[m.TopicArn] = true
		require.Equal(t, `pump & co ist "heiß"`, m.Message)
		require.Equal(t, "Selvedge", m.MessageAttributes["AWS.SNS.SMS.SenderID"].Value)
	}
	require.Len(t, numbers, 2, "each number gets one message")
	require.Empty(t, got)
}
