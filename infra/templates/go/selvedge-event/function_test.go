package function

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// post posts an event to a server and returns the answer's status and the type
// of the reply.
func post(t *testing.T, url, data string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "//x", "Ce-Type": "com.example.climate", "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Ce-Type")
}

func TestFunction_AnswersEvents(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(New().Handle))
	defer server.Close()
	for data, want := range map[string]struct {
		status int
		reply  string
	}{
		`{"temperature":31}`: {200, "com.example.warm"},
		`{"temperature":1}`:  {202, ""},
		`{`:                  {400, ""},
	} {
		if status, reply := post(t, server.URL, data); status != want.status || reply != want.reply {
			t.Errorf("%s: %d %q, not %d %q", data, status, reply, want.status, want.reply)
		}
	}
	resp, err := http.Post(server.URL, "text/plain", strings.NewReader("no event"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("what is no event is answered %d", resp.StatusCode)
	}
}

// TestFunction_ManyAtOnce posts many events at once: none may hang.
func TestFunction_ManyAtOnce(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(New().Handle))
	defer server.Close()
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 50 {
				if status, _ := post(t, server.URL, `{"temperature":31}`); status != 200 {
					t.Errorf("status %d", status)
				}
			}
		})
	}
	all.Wait()
}
