package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	resourcev1 "selvedge.dev/sdk/resource/v1"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

// write calls f in a transaction and returns what f does, without secrets. The
// call was done before if its key was: then it is answered as it was then. With
// validate_only everything happens but the commit. Name is what is written, or
// where.
func (s *Service) write(ctx context.Context, c *call, name resource.Name, f func(tx context.Context) (proto.Message, error)) (proto.Message, error) {
	ctx, err := s.prepare(ctx, c, name)
	if err != nil {
		return nil, err
	}
	var out proto.Message
	if flag(c.req, c.m.validateOnly) {
		c.record.About(name)
		_, err = s.store.Preview(ctx, func(tx context.Context) error {
			out, err = f(tx)
			return err
		})
		if err != nil {
			return nil, err
		}
		return c.m.shown(out), nil
	}
	memo, err := s.memo(ctx, c)
	if err != nil {
		return nil, err
	}
	c.record.About(name)
	err = s.store.Run(ctx, store.Transaction, func(tx context.Context) error {
		c.record.Trying(c.requestID)
		if memo != nil {
			if out, err = s.recall(tx, c, memo); out != nil || err != nil {
				return err
			}
		}
		if out, err = f(tx); err == nil && memo != nil {
			err = s.remember(tx, c, memo, out)
		}
		if err == nil {
			c.record.Answer(out)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if memo != nil {
		s.sweep(ctx)
	}
	return c.m.shown(out), nil
}

// prepare puts into the context what goes with every change: who asks, by which
// request, and under which policy.
func (s *Service) prepare(ctx context.Context, c *call, name resource.Name) (context.Context, error) {
	if c.requestID == "" {
		c.requestID = uuid.NewString()
	}
	c.record.Trying(c.requestID)
	ctx = store.WithInfo(ctx, store.Info{Principal: iam.PrincipalOf(ctx).Name, RequestID: c.requestID})
	if s.options.Policies == nil {
		return ctx, nil
	}
	p, err := s.options.Policies.For(ctx, name)
	if err != nil {
		return nil, atField("parent", err)
	}
	return policy.With(ctx, p), nil
}

// typeOf is the type of a resource, nil for other messages.
func (s *Service) typeOf(m proto.Message) *typ {
	return s.byMessage[m.ProtoReflect().Descriptor().FullName()]
}

// How long the answer of a request is kept, and the bound of its id, which is
// a UUID or something like it.
const (
	memory    = 24 * time.Hour
	maxKey    = 128
	sweepEach = 64
	sweepMost = 2 * sweepEach
)

// memo is the record of a call that is to be done once.
type memo struct {
	typ  *schema.Resource
	name resource.Name
	// digest is that of the request.
	digest [sha256.Size]byte
}

// memo is the record of the call, nil if it may be done again: also what nobody
// known asks for, since it could be somebody else who asks the next time.
func (s *Service) memo(ctx context.Context, c *call) (*memo, error) {
	by := iam.PrincipalOf(ctx)
	if c.key == "" || by.Kind == iam.Anonymous {
		return nil, nil
	}
	if len(c.key) > maxKey || slices.ContainsFunc([]byte(c.key), func(b byte) bool { return b <= ' ' || b > '~' }) {
		return nil, invalid("service.Write", "INVALID_REQUEST_ID", "request_id", fmt.Errorf("a request id is a UUID, or up to %d other visible ASCII characters", maxKey))
	}
	typ, ok := s.store.Types().Type("records.selvedge.dev/Request")
	if !ok {
		panic("BUG: service: the store has no records")
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.req.Interface())
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	id := binding(by.Name, string(c.m.Name), c.key)
	return &memo{typ: typ, name: resource.Name("requests/" + hex.EncodeToString(id)), digest: sha256.Sum256(b)}, nil
}

// recall is the answer that the call had, nil if it was not done yet.
func (s *Service) recall(tx context.Context, c *call, memo *memo) (proto.Message, error) {
	m, err := s.store.Get(tx, memo.typ, memo.name)
	if fault.KindOf(err) == fault.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	record := m.(*resourcev1.Request)
	if s.now().After(record.GetExpireTime().AsTime()) {
		return nil, nil
	}
	if string(record.GetDigest()) != string(memo.digest[:]) {
		return nil, invalid("service.Write", "REQUEST_ID_REUSED", "request_id", errors.New("another request had this id: every request has its own"))
	}
	out := c.m.Output.New().Interface()
	if err := proto.Unmarshal(record.GetResponse(), out); err != nil {
		return nil, fmt.Errorf("reading the answer that the request had: %w", err)
	}
	if t := s.typeOf(out); t != nil && t.Metadata != nil && record.GetVersionsBefore() != 0 {
		handle, _ := s.store.TxOf(tx)
		t.MetadataOf(out).ResourceVersion = store.FormatVersion(handle.Version(memo.typ, memo.name) - store.Seq(record.GetVersionsBefore()))
	}
	return out, nil
}

// remember writes the answer of the call with what it changes. What plugins
// fill in is part of the answer, so it is taken down after them. A version that
// will only be there after the commit is said as how much before the record's
// own it is.
func (s *Service) remember(tx context.Context, c *call, memo *memo, out proto.Message) error {
	handle, ok := s.store.TxOf(tx)
	if !ok {
		return fmt.Errorf("BUG: service: a write without a handle")
	}
	record := &resourcev1.Request{Name: string(memo.name), Digest: memo.digest[:], ExpireTime: timestamppb.New(s.now().Add(memory))}
	handle.Last(func(context.Context) error {
		if t := s.typeOf(out); t != nil {
			writes := handle.Pending()
			i := slices.IndexFunc(writes, func(w *store.Pending) bool { return w.Resource == t.Resource && w.Name == t.NameOf(out) })
			j := slices.IndexFunc(writes, func(w *store.Pending) bool { return w.Resource == memo.typ && w.Name == memo.name })
			if i >= 0 {
				record.VersionsBefore = int64(j - i)
			}
		}
		var err error
		record.Response, err = proto.Marshal(c.m.shown(out))
		return err
	})
	return handle.Put(tx, record, "", true)
}

// sweep forgets, now and then, what was remembered long enough. It forgets at
// most twice as much as was remembered since the last time, so that it always
// catches up and nobody waits for it long.
func (s *Service) sweep(ctx context.Context) {
	if _, within := s.store.TxOf(ctx); within || s.remembered.Add(1)%sweepEach != 0 {
		return
	}
	r, _ := s.store.Types().Type("records.selvedge.dev/Request")
	old, err := filter.Parse(r, fmt.Sprintf("expire_time < %q", s.now().UTC().Format(time.RFC3339)))
	if err != nil {
		panic("BUG: service: " + err.Error())
	}
	err = s.store.Run(ctx, store.Transaction, func(tx context.Context) error {
		page, err := s.store.List(tx, r, store.Query{Filter: old, Limit: sweepMost})
		if err != nil {
			return err
		}
		for _, m := range page.Objects {
			if err := s.store.Delete(tx, r, r.NameOf(m), store.DeleteOptions{AllowMissing: true}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "old request ids stay for now", slog.Any("error", err))
	}
}
