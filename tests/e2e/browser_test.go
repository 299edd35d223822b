package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// browser is a page of the platform in headless Chromium. As a transport it
// makes its requests with the page's fetch, and reads their bodies as they
// stream in.
type browser struct{ page context.Context }

// pageScript keeps the answers of a page: fetched begins one, read is its next
// piece in base64, "" at the end, drop forgets it.
const pageScript = `
	window.answers = new Map(); window.count = 0;
	window.fetched = async (url, method, headers, body) => {
		const control = new AbortController();
		const bytes = body === "" ? undefined : Uint8Array.from(atob(body), c => c.charCodeAt(0));
		const r = await fetch(url, {method, headers, body: bytes, signal: control.signal});
		const id = ++window.count;
		window.answers.set(id, {reader: r.body.getReader(), control});
		return JSON.stringify({id, status: r.status, header: Object.fromEntries(r.headers)});
	};
	window.read = async id => {
		const {value, done} = await window.answers.get(id).reader.read();
		if (done) return "";
		let text = "";
		for (const b of value) text += String.fromCharCode(b);
		return btoa(text);
	};
	window.drop = id => { window.answers.get(id).control.abort(); window.answers.delete(id); return ""; };
	""`

// newBrowser opens a page of the platform, so that its requests are of the same
// origin.
func newBrowser(t *testing.T, url string) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil && os.Getenv("SELVEDGE_REQUIRE_CHROMIUM") != "1" {
		t.Skipf("without Chromium nobody knows what a browser does: %v", err)
	}
	require.NoError(t, err)
	ctx, cancel := chromedp.NewExecAllocator(bounded(t),
		chromedp.ExecPath(program), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.UserDataDir(t.TempDir()))
	t.Cleanup(cancel)
	page, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(page, chromedp.Navigate(url+"/healthz")))
	_, err = chromedp.Run(page, chromedp.Evaluate[string](pageScript))
	require.NoError(t, err)
	return &browser{page: page}
}

// call calls a function of the page.
func (b *browser) call(name string, args ...any) (string, error) {
	list := make([]string, len(args))
	for i, a := range args {
		text, err := json.Marshal(a)
		if err != nil {
			return "", err
		}
		list[i] = string(text)
	}
	return chromedp.Run(b.page, chromedp.Evaluate[string](name+"("+strings.Join(list, ",")+")", chromedp.EvalAwaitPromise))
}

// RoundTrip implements http.RoundTripper.
func (b *browser) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	headers := map[string]string{}
	for name, values := range r.Header {
		if name != "User-Agent" && name != "Accept-Encoding" { // the browser's own
			headers[name] = values[0]
		}
	}
	text, err := b.call("fetched", r.URL.String(), r.Method, headers, base64.StdEncoding.EncodeToString(body))
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	var answer struct {
		ID, Status int
		Header     map[string]string
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, err
	}
	resp := &http.Response{StatusCode: answer.Status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, ContentLength: -1, Request: r, Body: &pageBody{browser: b, id: answer.ID}}
	for name, value := range answer.Header {
		if name != "content-encoding" && name != "content-length" { // it is unpacked
			resp.Header.Set(name, value)
		}
	}
	return resp, nil
}

// pageBody is the body of an answer in the page.
type pageBody struct {
	browser *browser
	id      int
	rest    []byte
	ended   bool
}

// Read implements io.Reader.
func (p *pageBody) Read(to []byte) (int, error) {
	if len(p.rest) == 0 && !p.ended {
		text, err := p.browser.call("read", p.id)
		if err != nil {
			return 0, err
		}
		if p.rest, err = base64.StdEncoding.DecodeString(text); err != nil {
			return 0, err
		}
		p.ended = text == ""
	}
	if p.ended {
		return 0, io.EOF
	}
	n := copy(to, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (p *pageBody) Close() error {
	_, err := p.browser.call("drop", p.id)
	return err
}

// TestResources_InABrowser does what the other clients do with the fetch of a
// browser: REST with server-sent events, gRPC-Web and Connect.
func TestResources_InABrowser(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	for i, c := range []struct {
		name string
		door func(h *http.Client) door
	}{
		{"REST", func(h *http.Client) door { return restDoor{url: p.URL, key: adminKey, http: h} }},
		{"gRPC-Web", func(h *http.Client) door {
			return connectDoor{url: p.URL, key: adminKey, http: h, options: []connect.ClientOption{connect.WithGRPCWeb()}}
		}},
		{"Connect", func(h *http.Client) door { return connectDoor{url: p.URL, key: adminKey, http: h} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBrowser(t, p.URL)
			f := fleet{t: t, ctx: bounded(t), door: c.door(&http.Client{Transport: b}), parent: fmt.Sprint("projects/p", i)}
			f.journey()
		})
	}
}
