package messenger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"selvedge.dev/sdk/render"
)

// httpTimeout bounds a request, all of it: the function has half a minute for
// all of its numbers.
const httpTimeout = 10 * time.Second

// post sends messages by requests.
type post struct {
	url, user, password, from string
	// authorization is the header, body the template; "" is none.
	authorization, body, contentType string
	client                           *http.Client
}

// newHTTP is the provider at a URL.
func newHTTP(u *url.URL, env map[string]string) (Provider, error) {
	p := &post{
		from: env["MESSENGER_FROM"], authorization: env["MESSENGER_AUTHORIZATION"], body: env["MESSENGER_BODY"],
		contentType: cmp.Or(env["MESSENGER_CONTENT_TYPE"], "application/json"),
		// Another address is not what was configured, and gets no password.
		client: &http.Client{Timeout: httpTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if u.User != nil {
		p.user = u.User.Username()
		p.password, _ = u.User.Password()
	}
	bare := *u
	bare.User = nil
	p.url = bare.String()
	if _, _, err := mime.ParseMediaType(p.contentType); err != nil {
		return nil, wrong(fmt.Errorf("MESSENGER_CONTENT_TYPE: %w", err))
	}
	if _, err := p.text(Message{}); err != nil {
		return nil, wrong(fmt.Errorf("MESSENGER_BODY: %w", err))
	}
	return p, nil
}

// text is the body of the request for a message.
func (p *post) text(m Message) (string, error) {
	if p.body == "" {
		return url.Values{"To": {m.To}, "From": {p.from}, "Body": {m.Text}}.Encode(), nil
	}
	fields := map[string]any{"to": m.To, "from": p.from, "text": m.Text, "id": m.ID}
	if strings.HasSuffix(p.contentType, "json") {
		for name, value := range fields {
			quoted, err := json.Marshal(value)
			if err != nil {
				return "", err
			}
			fields[name] = string(quoted)
		}
	}
	values, err := render.New(fields)
	if err != nil {
		return "", err
	}
	return render.Text(p.body, values)
}

// Send implements [Provider].
func (p *post) Send(ctx context.Context, m Message) error {
	body, err := p.text(m)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return wrong(errors.New("it is not a URL"))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.body != "" {
		req.Header.Set("Content-Type", p.contentType)
	}
	req.Header.Set("Idempotency-Key", m.ID)
	if p.user != "" {
		req.SetBasicAuth(p.user, p.password)
	}
	if p.authorization != "" {
		req.Header.Set("Authorization", p.authorization)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return away(fmt.Errorf("the provider does not answer: %w", err))
	}
	defer func() { _ = resp.Body.Close() }()                      // it was read
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // for the next request
	switch s := resp.StatusCode; {
	case s/100 == 2:
		return nil
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500, s/100 == 3:
		return away(fmt.Errorf("the provider answers %s", resp.Status))
	}
	return refused(fmt.Errorf("the provider answers %s", resp.Status))
}
