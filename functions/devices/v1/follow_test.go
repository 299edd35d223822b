package devicesv1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/fault"
)

// platform is a transport to a registry that tests play: it answers what they
// put into it, and keeps watches open until they say otherwise.
type platform struct {
	mu sync.Mutex
	// is are the resources as they are, by name, and the devices by alias.
	devices    map[string]*Device
	blueprints map[string]*Blueprint
	aliases    map[string]*Device
	// asked counts the questions.
	asked int
	// streams are the open watches by their parents and types, tokens what they
	// began with, opened how many there were.
	streams map[string]*io.PipeWriter
	tokens  map[string]string
	opened  int
	// refuse, if not nil, answers watches.
	refuse answers
}

// newPlatform is one with nothing in it.
func newPlatform() *platform {
	return &platform{
		devices: map[string]*Device{}, blueprints: map[string]*Blueprint{}, aliases: map[string]*Device{},
		streams: map[string]*io.PipeWriter{}, tokens: map[string]string{},
	}
}

// RoundTrip implements http.RoundTripper.
func (p *platform) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Method == http.MethodPost {
		return p.watch(r)
	}
	p.asked++
	name := strings.TrimPrefix(r.URL.Path, "/v1/")
	var m proto.Message
	if d, ok := p.devices[name]; ok {
		m = d
	} else if b, ok := p.blueprints[name]; ok {
		m = b
	} else if d, ok := p.aliases[r.URL.Query().Get("value")]; ok && strings.HasSuffix(name, "devices:resolve") {
		m = d
	}
	if m == nil {
		return reply(404, problem(fault.NotFound))(r)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	return reply(200, string(text))(r)
}

// watch opens a watch, whose first response says that it is up to date.
func (p *platform) watch(r *http.Request) (*http.Response, error) {
	if p.opened++; p.refuse != nil {
		return p.refuse(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var req WatchDevicesRequest // that of blueprints has the same fields
	if err := proto.Unmarshal(body[5:], &req); err != nil {
		return nil, err
	}
	if (req.GetResumeToken() == "") == (req.GetStartingTime() == nil) {
		return nil, errors.New("a watch begins at a token or at a time")
	}
	key := req.GetParent() + r.URL.Path[strings.LastIndexByte(r.URL.Path, '/'):]
	out, in := io.Pipe()
	p.streams[key], p.tokens[key] = in, req.GetResumeToken()
	go func() {
		<-r.Context().Done()
		_ = in.CloseWithError(r.Context().Err())
	}()
	go func() { _, _ = in.Write(frame(0, &WatchDevicesResponse{IsCurrent: true, ResumeToken: "1"})) }()
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/connect+proto"}}, Body: out, Request: r}, nil
}

// frame is a message of a stream.
func frame(flags byte, m proto.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(data))), data...)
}

// The keys of the watches.
const (
	plain      = "projects/-/WatchDevices"
	regional   = "projects/-/regions/-/WatchDevices"
	blueprints = "projects/-/WatchBlueprints"
)

// tell sends a response to a watch, and waits until it was handled.
func (p *platform) tell(t *testing.T, stream string, m proto.Message) {
	t.Helper()
	p.mu.Lock()
	in := p.streams[stream]
	p.mu.Unlock()
	_, err := in.Write(frame(0, m))
	require.NoError(t, err)
	synctest.Wait()
}

// end breaks a watch.
func (p *platform) end(stream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.streams[stream].CloseWithError(io.ErrUnexpectedEOF)
}

// put makes devices be as they are given, and no others.
func (p *platform) put(devices ...*Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.devices)
	clear(p.aliases)
	for _, d := range devices {
		p.devices[d.GetName()] = d
		for _, a := range d.GetAliases() {
			p.aliases[a.GetValue()] = d
		}
	}
}

// questions is how many there were.
func (p *platform) questions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// set is the change that a device is there.
func set(d *Device) *WatchDevicesResponse {
	return &WatchDevicesResponse{IsCurrent: true, ResumeToken: "2", DeviceChanges: []*DeviceChange{
		{Change: &DeviceChange_Set_{Set: &DeviceChange_Set{Device: d}}},
	}}
}

// removed is the change that a device is gone.
func removed(name string) *WatchDevicesResponse {
	return &WatchDevicesResponse{IsCurrent: true, ResumeToken: "2", DeviceChanges: []*DeviceChange{
		{Change: &DeviceChange_Removed_{Removed: &DeviceChange_Removed{Name: name}}},
	}}
}

// follow is a client that watches a platform, and what it logs. The test is in a
// bubble.
func follow(t *testing.T, p *platform) (c *Client, logged func() string) {
	t.Helper()
	c = with(p)
	var text bytes.Buffer
	var mu sync.Mutex
	log := slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return text.Write(b)
	}), nil))
	var running sync.WaitGroup
	ctx := t.Context()
	running.Go(func() { c.Run(ctx, log) })
	t.Cleanup(running.Wait)
	synctest.Wait()
	return c, func() string {
		mu.Lock()
		defer mu.Unlock()
		return text.String()
	}
}

// writer is a function as an io.Writer.
type writer func([]byte) (int, error)

// Write implements io.Writer.
func (f writer) Write(b []byte) (int, error) { return f(b) }

// While the registry is watched an answer counts until it changes, however long
// that takes, and from then on not at all.
func TestFollow_AnswersUntilTheyChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform()
		c, logged := follow(t, p)
		require.Contains(t, logged(), "is watched")
		a, b := External{"n", "k", "a"}, External{"n", "k", "b"}
		d := &Device{Name: "projects/p/devices/d", Aliases: []*Alias{a.Alias()}, Route: "one"}
		e := &Device{Name: "projects/p/regions/r/devices/e", Aliases: []*Alias{b.Alias()}}
		// f reads at once, and then, when what was told was forgotten for the
		// second time, again and again without another question.
		f := func(want string, read func() (*Device, error)) {
			t.Helper()
			var questions int
			for i := range 4 {
				got, err := read()
				if want == "" {
					require.Equal(t, fault.NotFound, fault.KindOf(err), "%v", err)
				} else {
					require.NoError(t, err)
					require.Equal(t, want, got.GetName()+" "+got.GetRoute())
				}
				if i == 1 {
					questions = p.questions()
				}
				time.Sleep(2 * clientTTL)
			}
			require.Equal(t, questions, p.questions())
		}
		device := func(name string) func() (*Device, error) {
			return func() (*Device, error) { return c.Device(t.Context(), name) }
		}
		alias := func(x External) func() (*Device, error) {
			return func() (*Device, error) { return c.Resolve(t.Context(), "p", x) }
		}
		// What is not there is found as soon as it is.
		f("", device(d.Name))
		f("", alias(a))
		f("", device(e.Name))
		p.put(d, e)
		f("", device(d.Name))
		p.tell(t, plain, set(d))
		p.tell(t, regional, set(e))
		f("projects/p/devices/d one", alias(a))
		f("projects/p/devices/d one", device(d.Name))
		f("projects/p/regions/r/devices/e ", alias(b))
		// It changes.
		d = &Device{Name: d.Name, Aliases: d.Aliases, Route: "two"}
		p.put(d, e)
		p.tell(t, plain, set(d))
		f("projects/p/devices/d two", alias(a))
		// Its alias goes to another device, that of the other to nobody.
		d = &Device{Name: d.Name, Aliases: []*Alias{b.Alias()}}
		e = &Device{Name: e.Name, Aliases: []*Alias{a.Alias()}}
		p.put(d, e)
		p.tell(t, plain, set(d))
		p.tell(t, regional, set(e))
		f("projects/p/regions/r/devices/e ", alias(a))
		f("projects/p/devices/d ", alias(b))
		e = &Device{Name: e.Name}
		p.put(d, e)
		p.tell(t, regional, set(e))
		f("", alias(a))
		// It goes.
		p.put(e)
		p.tell(t, plain, removed(d.Name))
		f("", alias(b))
		f("", device(d.Name))
	})
}

func TestFollow_Blueprints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform()
		c, _ := follow(t, p)
		const name = "projects/p/blueprints/b"
		f := func(want string) {
			t.Helper()
			b, err := c.Blueprint(t.Context(), name)
			if want == "" {
				require.Equal(t, fault.NotFound, fault.KindOf(err), "%v", err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, want, b.GetRoute())
		}
		f("")
		b := &Blueprint{Name: name, Route: "one"}
		p.blueprints[name] = b
		f("")
		p.tell(t, blueprints, &WatchBlueprintsResponse{BlueprintChanges: []*BlueprintChange{
			{Change: &BlueprintChange_Set_{Set: &BlueprintChange_Set{Blueprint: b}}},
		}})
		time.Sleep(2 * clientTTL)
		f("one")
		delete(p.blueprints, name)
		time.Sleep(2 * clientTTL)
		f("one")
		p.tell(t, blueprints, &WatchBlueprintsResponse{BlueprintChanges: []*BlueprintChange{
			{Change: &BlueprintChange_Removed_{Removed: &BlueprintChange_Removed{Name: name}}},
		}})
		f("")
	})
}

// Without the watch an answer counts for five seconds. One from before counts
// again once the watch told what changed meanwhile.
func TestFollow_LostAndResumed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform()
		c, logged := follow(t, p)
		d := &Device{Name: deviceName}
		p.put(d)
		f := func(questions int) {
			t.Helper()
			before := p.questions()
			_, err := c.Device(t.Context(), deviceName)
			require.NoError(t, err)
			require.Equal(t, questions, p.questions()-before)
		}
		f(1)
		time.Sleep(2 * clientTTL)
		f(0)
		p.tell(t, regional, &WatchDevicesResponse{IsCurrent: true, ResumeToken: "7"})
		p.end(regional)
		synctest.Wait()
		require.Contains(t, logged(), "is not watched")
		time.Sleep(followPause)
		synctest.Wait()
		require.Equal(t, "7", p.tokens[regional])
		require.Equal(t, 2, strings.Count(logged(), "is watched"))
		f(0) // of the phase that goes on
		// A platform that does not go on where it was is one of which nothing
		// is known.
		p.tell(t, plain, &WatchDevicesResponse{IsHardReset: true})
		f(1)
		time.Sleep(2 * clientTTL)
		f(1)
		p.tell(t, plain, &WatchDevicesResponse{IsCurrent: true, ResumeToken: "8"})
		time.Sleep(2 * clientTTL)
		f(1) // read while it was not known what changed
		time.Sleep(2 * clientTTL)
		f(0)
	})
}

// What was read just before a change was told can be kept by nobody.
func TestFollow_AReadingUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform()
		c, _ := follow(t, p)
		a := External{"n", "k", "v"}
		old := &Device{Name: deviceName, Aliases: []*Alias{a.Alias()}, Route: "old"}
		p.put(old)
		changed := &Device{Name: deviceName, Aliases: old.Aliases, Route: "new"}
		transport := c.platform.HTTP.Transport
		c.platform.HTTP.Transport = answers(func(r *http.Request) (*http.Response, error) {
			resp, err := transport.RoundTrip(r)
			p.put(changed)
			p.tell(t, plain, set(changed))
			return resp, err
		})
		d, err := c.Resolve(t.Context(), "p", a)
		require.NoError(t, err)
		require.Equal(t, "old", d.GetRoute())
		c.platform.HTTP.Transport = transport
		for _, read := range []func() (*Device, error){
			func() (*Device, error) { return c.Device(t.Context(), deviceName) },
			func() (*Device, error) { return c.Resolve(t.Context(), "p", a) },
		} {
			d, err = read()
			require.NoError(t, err)
			require.Equal(t, "new", d.GetRoute())
		}
	})
}

// Another process of the platform can answer with what was before a change that
// this one told; that does not last.
func TestFollow_AnAnswerFromBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform()
		c, _ := follow(t, p)
		d := &Device{Name: deviceName}
		p.tell(t, plain, set(d))
		_, err := c.Device(t.Context(), deviceName)
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		p.put(d)
		time.Sleep(clientTTL)
		synctest.Wait()
		_, err = c.Device(t.Context(), deviceName)
		require.NoError(t, err)
	})
}

// A key that may not watch has answers for five seconds, and one line in the
// log.
func TestFollow_DeniedIsNoError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform()
		p.refuse = reply(403, `{"code":"permission_denied","message":"no"}`)
		p.put(&Device{Name: deviceName})
		c, logged := follow(t, p)
		f := func(questions int) {
			t.Helper()
			_, err := c.Device(t.Context(), deviceName)
			require.NoError(t, err)
			require.Equal(t, questions, p.questions())
		}
		f(1)
		f(1)
		time.Sleep(clientTTL)
		f(2)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, 1, strings.Count(logged(), "\n"), logged())
		require.Less(t, p.opened, 3*120, "it tries less and less often")
	})
}
