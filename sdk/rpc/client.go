package rpc

import (
	"context"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/schema"
)

// Client calls the methods of a platform. It is safe for concurrent use.
type Client struct {
	// URL is where the platform is, "http://127.0.0.1:8080".
	URL string
	// Key is the API key, "" for none.
	Key string
	// Region is the region that passes calls on, "" if nobody does.
	Region string
	// HTTP makes the requests; nil is http.DefaultClient. Watches last, so it
	// must not have a timeout.
	HTTP *http.Client
}

// Call does a unary method. Its error is a fault; no answer is Unavailable with
// the reason NO_ANSWER.
func (c *Client) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	r := connect.NewRequest(&Message{req})
	c.authorize(r.Header())
	resp, err := c.client(m).CallUnary(ctx, r)
	if err != nil {
		return nil, Fault(string(m.Name), err)
	}
	return resp.Msg.Message, nil
}

// Watch does a server-streaming method: it calls recv with every message until
// the stream ends, recv fails or ctx does. A stream that ends by itself ends
// with nil. The messages are recv's own.
func (c *Client) Watch(ctx context.Context, m *schema.Method, req proto.Message, recv func(proto.Message) error) error {
	r := connect.NewRequest(&Message{req})
	c.authorize(r.Header())
	stream, err := c.client(m).CallServerStream(ctx, r)
	if err != nil {
		return Fault(string(m.Name), err)
	}
	defer func() { _ = stream.Close() }() // why it ended is returned already
	for stream.Receive() {
		if err := recv(stream.Msg().Message); err != nil {
			return err
		}
	}
	if err := stream.Err(); err != nil {
		return Fault(string(m.Name), err)
	}
	return nil
}

// client is the connect client of one method. It holds no connection.
func (c *Client) client(m *schema.Method) *connect.Client[Message, Message] {
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	return connect.NewClient[Message, Message](h, strings.TrimSuffix(c.URL, "/")+m.Procedure(),
		connect.WithCodec(Proto{}), connect.WithSchema(m),
		connect.WithResponseInitializer(func(_ connect.Spec, v any) error {
			v.(*Message).Message = m.Output.New().Interface()
			return nil
		}))
}

// authorize adds the key, and for whom the call is made.
func (c *Client) authorize(h http.Header) {
	if c.Key != "" {
		h.Set("Authorization", "Bearer "+c.Key)
	}
	if c.Region != "" {
		h.Set(iam.RegionHeader, c.Region)
	}
}
