package edgeruntime

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/journal"
	"selvedge.dev/sdk/resource"
)

// The defaults of a Config.
const (
	// DefaultInterval is the time from one reading to the next: short enough
	// to see a machine struggle, and some 20 MB a day of queue while offline.
	DefaultInterval = 5 * time.Second
	// DefaultMaxBytes is the disk bound of the queue: some two weeks of readings
	// of a small machine.
	DefaultMaxBytes = 256 << 20
	// minInterval and minMaxBytes are the least that make sense: faster
	// readings measure the reader, and a smaller queue cannot be dropped from
	// in pieces.
	minInterval = 100 * time.Millisecond
	minMaxBytes = 1 << 20
)

// Config says who an Agent is, where it keeps its queue and where that goes.
// URL, Device, Dir, Sensor and a key are required.
type Config struct {
	// URL is the platform's base URL: "https://selvedge.example.com".
	URL string
	// Key is the API key that every post carries.
	Key string
	// KeyFile names a file that holds the key. It is read for every post, so a
	// key can be replaced under a running agent. It excludes Key.
	KeyFile string
	// Device is the resource name of this device: "projects/P/devices/D".
	Device string
	// Dir is the folder of the queue and the loss ledger. One agent owns it.
	Dir string
	// Interval is the time between readings; 0 means DefaultInterval.
	Interval time.Duration
	// MaxBytes bounds the queue on disk; 0 means DefaultMaxBytes.
	MaxBytes int64
	// Sensor is what readings come from.
	Sensor Sensor
	// Transport carries the posts; nil means TCP and TLS, one connection.
	Transport http.RoundTripper
	// Now is the wall clock; nil means time.Now. Durations never depend on it.
	Now func() time.Time
	// Logger gets changes of state; nil means none.
	Logger *slog.Logger

	// fs is the queue's file system; set by tests only.
	fs journal.FS
}

// complete is c with its defaults, or every reason why it cannot be used. The
// Field of a reason is the name of the flag of edged.
func (c Config) complete() (Config, error) {
	c.Interval = cmp.Or(c.Interval, DefaultInterval)
	c.MaxBytes = cmp.Or(c.MaxBytes, DefaultMaxBytes)
	c.URL = strings.TrimRight(c.URL, "/")
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	var errs []error
	refuse := func(bad bool, field, text string) {
		if bad {
			errs = append(errs, &fault.Error{Op: opNew, Name: field, Kind: fault.Invalid, Field: field, Err: errors.New(text)})
		}
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		u = new(url.URL)
	}
	refuse(u.Host == "" || u.Scheme != "http" && u.Scheme != "https", "url", `want "http://HOST" or "https://HOST"`)
	refuse(u.User != nil || u.RawQuery != "" || u.Fragment != "", "url", "want no user, query or fragment: the key goes in a header")
	refuse(c.Key == "" && c.KeyFile == "", "key", "an API key or a file with one is required")
	refuse(c.Key != "" && c.KeyFile != "", "key-file", "give a key or a file with one, not both")
	if _, err := resource.ParseDevice(c.Device); err != nil {
		refuse(true, "device", err.Error())
	}
	refuse(c.Dir == "", "data", "a folder for the queue is required")
	refuse(c.Interval < minInterval, "interval", "want at least "+minInterval.String())
	refuse(c.MaxBytes < minMaxBytes, "max-bytes", "want at least "+strconv.Itoa(minMaxBytes))
	refuse(c.Sensor == nil, "sensor", "a sensor is required")
	return c, errors.Join(errs...)
}

// exposed reports whether the key leaves this machine in clear.
func (c Config) exposed() bool {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback())
}

// key is the API key to use now.
func (c Config) key() (string, error) {
	if c.KeyFile == "" {
		return c.Key, nil
	}
	b, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(b))
	if key == "" {
		return "", fmt.Errorf("%s is empty", c.KeyFile)
	}
	return key, nil
}
