package iam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/filter"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
	"selvedge.dev/sdk/store"
)

const (
	// sessionLife is how long a person need not prove himself again by default.
	sessionLife = 30 * 24 * time.Hour
	// maxSessions bounds the sessions of one user: the next one ends the oldest.
	maxSessions = 100
	// sweepSessions bounds the sessions that one look deletes.
	sweepSessions = 1000
)

// session is what a person gets who signed in: until when, and the refresh token
// that is good once.
type session struct {
	who    iam.Principal
	token  string
	expire time.Time
}

// errRefresh is the fault of a refresh token that is none, or was used, or whose
// session is over: nobody is told which.
func errRefresh() error {
	return &fault.Error{
		Op: "iam.Token", Kind: fault.Unauthenticated, Reason: "INVALID_REFRESH_TOKEN", Field: "refresh_token",
		Err: errors.New("the refresh token is none, was used, or its session is over: sign in again"),
	}
}

// inSessions does something to sessions in a transaction.
func (a *Accounts) inSessions(ctx context.Context, f func(ctx context.Context, r *schema.Resource) error) error {
	follows, err := a.policy(ctx)
	if err != nil {
		return err
	}
	r, err := a.feed.Type(iamv1.SessionType)
	if err != nil {
		return err
	}
	return a.store.Run(policy.With(ctx, follows), store.Transaction, func(ctx context.Context) error { return f(ctx, r) })
}

// sessionsOf are the sessions that an expression selects, as many at most, the
// oldest first.
func (a *Accounts) sessionsOf(ctx context.Context, r *schema.Resource, expression string, most int) ([]*iamv1.Session, error) {
	f, err := filter.Parse(r, expression)
	if err != nil {
		return nil, err
	}
	order, err := filter.ParseOrder(r, "expire_time")
	if err != nil {
		return nil, err
	}
	page, err := a.store.List(ctx, r, store.Query{Filter: f, Order: order, Limit: most})
	if err != nil {
		return nil, err
	}
	out := make([]*iamv1.Session, 0, len(page.Objects))
	for _, m := range page.Objects {
		if s, ok := m.(*iamv1.Session); ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// end ends sessions.
func (a *Accounts) end(ctx context.Context, r *schema.Resource, all ...*iamv1.Session) error {
	for _, s := range all {
		if err := a.store.Delete(ctx, r, resource.Name(s.GetName()), store.DeleteOptions{AllowMissing: true}); err != nil {
			return err
		}
	}
	return nil
}

// ofUser selects the sessions of a user.
func ofUser(name string) string { return fmt.Sprintf("user = %q", name) }

// begin begins the session of a person who has proved himself.
func (a *Accounts) begin(ctx context.Context, p iam.Principal) (session, error) {
	id, hash, token := iam.NewRefresh()
	now := a.store.Now()
	s := session{p, token, now.Add(a.options.SessionLife)}
	err := a.inSessions(ctx, func(ctx context.Context, r *schema.Resource) error {
		others, err := a.sessionsOf(ctx, r, ofUser(p.Name), maxSessions)
		if err != nil {
			return err
		}
		if tooMany := len(others) - maxSessions + 1; tooMany > 0 {
			if err := a.end(ctx, r, others[:tooMany]...); err != nil {
				return err
			}
		}
		return a.store.Save(ctx, &iamv1.Session{
			Name: "sessions/" + id, User: p.Name, Hash: hash, CreateTime: timestamppb.New(now), ExpireTime: timestamppb.New(s.expire),
		}, store.SaveOptions{Create: true, Reason: "signed in"})
	})
	return s, err
}

// refresh is what a refresh token is exchanged for. It is good once: whoever
// comes with one that was used, or with a wrong one of a session, ends the
// session, since one of those who have tokens of it is not the person.
func (a *Accounts) refresh(ctx context.Context, token string) (session, error) {
	id, ok := iam.RefreshID(token)
	if !ok {
		return session{}, errRefresh()
	}
	var out session
	err := a.inSessions(ctx, func(ctx context.Context, r *schema.Resource) error {
		out = session{}
		m, err := a.store.Get(ctx, r, resource.Name("sessions/"+id))
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		s, ok := m.(*iamv1.Session)
		if !ok {
			return fmt.Errorf("BUG: iam: a session is a %T", m)
		}
		account, known := a.feed.Accounts().Account(s.GetUser())
		expire := s.GetExpireTime().AsTime()
		switch {
		case !iam.IsRefresh(token, s.GetHash()):
			a.log.WarnContext(ctx, "a refresh token was used twice: its session is over", slog.String("user", s.GetUser()))
			return a.end(ctx, r, s)
		case !known || account.Disabled || !a.store.Now().Before(expire):
			return a.end(ctx, r, s)
		}
		out = session{who: iam.Principal{Kind: iam.User, Name: s.GetUser(), Email: account.Email}, expire: expire}
		s.Hash, out.token = iam.NextRefresh(id)
		return a.store.Save(ctx, s, store.SaveOptions{Update: true, Reason: "refreshed"})
	})
	if err == nil && out.token == "" {
		err = errRefresh()
	}
	return out, err
}

// signOut ends the session of a refresh token, also of one that was used.
func (a *Accounts) signOut(ctx context.Context, token string) error {
	id, ok := iam.RefreshID(token)
	if !ok {
		return nil // RFC 7009: there is nothing to end
	}
	return a.inSessions(ctx, func(ctx context.Context, r *schema.Resource) error {
		return a.end(ctx, r, &iamv1.Session{Name: "sessions/" + id})
	})
}

// sweep deletes sessions that are over.
func (a *Accounts) sweep(ctx context.Context) error {
	return a.inSessions(ctx, func(ctx context.Context, r *schema.Resource) error {
		over, err := a.sessionsOf(ctx, r, fmt.Sprintf("expire_time <= %q", a.store.Now().UTC().Format(time.RFC3339)), sweepSessions)
		if err != nil {
			return err
		}
		return a.end(ctx, r, over...)
	})
}
