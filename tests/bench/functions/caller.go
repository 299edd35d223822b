package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// caller asks the function again and again over one connection, and does little
// else: on the machine that it measures, the standard library's client, with two
// goroutines a connection, would be a fifth of a request.
type caller struct {
	conn net.Conn
	in   *bufio.Reader
	// head is the request up to the id of the event, tail the rest; request is both.
	head, tail, request []byte
}

// caller connects to where the function is.
func (t *target) caller(ctx context.Context) (*caller, error) {
	u, err := url.Parse(t.url)
	if err != nil {
		return nil, err
	}
	conn, err := t.dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
	if err != nil {
		return nil, err
	}
	const body = `{"temperature":31}`
	return &caller{
		conn: conn, in: bufio.NewReader(conn),
		head: fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\nCe-Specversion: 1.0\r\nCe-Source: //bench\r\nCe-Type: com.example.climate\r\nCe-Id: ", cmp.Or(u.RequestURI(), "/"), u.Host, len(body)),
		tail: []byte("\r\n\r\n" + body),
	}, nil
}

// ask posts an event and wants its reply.
func (c *caller) ask(id string) (err error) {
	c.request = append(append(append(c.request[:0], c.head...), id...), c.tail...)
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	switch reply := resp.Header.Get("Ce-Id"); {
	case resp.StatusCode != http.StatusOK || reply != id+"-warm":
		err = fmt.Errorf("the function answered %d, %q", resp.StatusCode, reply)
	case resp.Close:
		err = errors.New("the function's connection was closed")
	}
	return errors.Join(err, resp.Body.Close())
}

// close ends the connection.
func (c *caller) close() { _ = c.conn.Close() } // nothing is on its way
