// Command clickhouse runs a true ClickHouse server: the one that is in libchdb,
// a library that npm distributes, whose port listeners a statement starts.
// Tests of logstore/clickhouse and benchmarks talk to it. It is a module of its
// own, so that the product does not load libraries.
//
// Clients of the native protocol reach it through a relay in this program: the
// engine as it is in the library ends with its whole process when a connection is
// reset, which the true server survives, so it is told of an end instead.
//
// It runs until it is killed, which is a crash as any that the server is made
// for: its files are whole when it is started again. It knows no replication,
// no clusters, no TLS, and no users but those of its -config.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"github.com/ebitengine/purego"
)

// forever is a statement that ends when it is killed.
const forever = `SELECT sleepEachRow(1) FROM system.numbers FORMAT Null SETTINGS max_block_size = 1, max_threads = 1,
	max_execution_time = 0, max_rows_to_read = 0, max_memory_usage = 0, log_comment = 'launcher'`

// options say what server to run.
type options struct {
	// library is the path of libchdb.so, data the folder of the server's files.
	library, data string
	// config is a file of settings in the server's form, "" if there is none.
	config string
	// native and http are the ports, on the loopback address.
	native, http int
}

// main runs the server until it ends, which it does only by an error.
func main() {
	var o options
	flag.StringVar(&o.library, "library", "libchdb.so", "path of libchdb.so")
	flag.StringVar(&o.data, "data", "data", "folder of the server's files")
	flag.StringVar(&o.config, "config", "", "file of settings")
	flag.IntVar(&o.native, "native", 9000, "port of the native protocol")
	flag.IntVar(&o.http, "http", 8123, "port of HTTP")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run runs the server.
func run(o options) error {
	engine, err := relayed(o.native)
	if err != nil {
		return err
	}
	library, err := purego.Dlopen(o.library, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("loading %s: %w", o.library, err)
	}
	// What a command line is given to, as clickhouse-local has it, and what
	// came of it.
	var query func(argc int32, argv **byte) uintptr
	purego.RegisterLibFunc(&query, library, "chdb_query_cmdline")
	var failure func(result uintptr) string
	purego.RegisterLibFunc(&failure, library, "chdb_result_error")

	args := []string{
		"clickhouse", "--path", o.data, "--listen_host", "127.0.0.1",
		"--tcp_port", strconv.Itoa(engine), "--http_port", strconv.Itoa(o.http),
		"--query", "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; " + forever,
	}
	if o.config != "" {
		args = append(args, "--config-file", o.config)
	}
	argv := make([]*byte, len(args)+1) // the last is nil
	for i, arg := range args {
		argv[i] = unsafe.SliceData(append([]byte(arg), 0))
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, p := range argv[:len(args)] {
		pin.Pin(p)
	}
	result := query(int32(len(args)), &argv[0])
	if text := failure(result); text != "" {
		return errors.New(text)
	}
	return errors.New("the server has ended")
}

// relayed relays the connections to a port to another, which it returns.
func relayed(port int) (int, error) {
	// The engine listens a moment after this port is free again.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return 0, err
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	engine, err := strconv.Atoi(text)
	if err != nil {
		return 0, err
	}
	clients, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, err
	}
	go func() {
		for {
			client, err := clients.Accept()
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			go relay(client, address)
		}
	}()
	return engine, nil
}

// relay relays one connection. When the client is gone, what the server still
// says is read to its end.
func relay(client net.Conn, address string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		_, _ = io.Copy(server, client) // until the client ends, or is gone
		if tcp, ok := server.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}()
	if _, err := io.Copy(client, server); err != nil {
		_, _ = io.Copy(io.Discard, server)
	}
}
