package edgeruntime

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"selvedge.dev/sdk/fault"
)

func TestNew_ConfigErrors(t *testing.T) {
	t.Parallel()
	f := func(field string, change func(c *Config)) {
		t.Helper()
		c := newRig(t).config
		change(&c)
		_, err := New(c)
		require.Error(t, err, field)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, fault.Invalid, e.Kind)
		require.Equal(t, field, e.Field)
	}
	f("url", func(c *Config) { c.URL = "" })
	f("url", func(c *Config) { c.URL = "platform.test:8080" })
	f("url", func(c *Config) { c.URL = "ftp://platform.test" })
	f("url", func(c *Config) { c.URL = "http://" })
	f("url", func(c *Config) { c.URL = "http://platform.test/%zz" })
	f("url", func(c *Config) { c.URL = "http://u:p@platform.test" })
	f("url", func(c *Config) { c.URL = "http://platform.test?key=k" })
	f("key", func(c *Config) { c.Key = "" })
	f("key-file", func(c *Config) { c.KeyFile = "/etc/key" })
	f("device", func(c *Config) { c.Device = "d" })
	f("device", func(c *Config) { c.Device = "projects/p/devices/" })
	f("device", func(c *Config) { c.Device = "projects/p/devices/a b" })
	f("data", func(c *Config) { c.Dir = "" })
	f("interval", func(c *Config) { c.Interval = time.Millisecond })
	f("interval", func(c *Config) { c.Interval = -time.Second })
	f("max-bytes", func(c *Config) { c.MaxBytes = 1000 })
	f("sensor", func(c *Config) { c.Sensor = nil })

	_, err := New(Config{})
	for _, field := range []string{"url", "key", "device", "data", "sensor"} {
		require.ErrorContains(t, err, field, "all of them at once")
	}
}

func TestConfig_Exposed(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"http://platform.test": true, "http://192.168.0.7:8080": true, "http://[fe80::1]": true,
		"https://platform.test": false, "http://127.0.0.1:8080": false, "http://[::1]:8080": false, "http://localhost": false,
	} {
		require.Equal(t, want, Config{URL: url}.exposed(), url)
	}
}
