package remote

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/rpc"
)

// named reports whether the request of a context came through the door of
// functions, which has said who calls. Credentials go first: a function that has
// them was called by somebody else.
func (p *Platform) named(ctx context.Context) bool {
	in := incomingOf(ctx)
	return p.o.Function != "" && in.key == "" && in.caller != ""
}

// caller is who calls a function, as the door says by a token of the platform for
// this function; Anonymous if it says nothing.
func (p *Platform) caller(ctx context.Context) (iam.Principal, error) {
	if !p.named(ctx) {
		return iam.Principal{}, nil
	}
	wrong := &fault.Error{
		Op: "remote.Caller", Kind: fault.Unauthenticated, Reason: "INVALID_TOKEN",
		Err: fmt.Errorf("the token of the header %s is not the platform's for this function", iam.CallerHeader),
	}
	token := incomingOf(ctx).caller
	issuer, keys, err := p.keys.get(ctx, token)
	if err != nil {
		return iam.Principal{}, asked(err)
	}
	claims, err := iam.Verify(token, func(id string) (crypto.PublicKey, bool) { k, ok := keys[id]; return k, ok })
	if err != nil {
		return iam.Principal{}, err
	}
	if claims.Issuer != issuer || !slices.Contains(claims.Audience, iam.FunctionAudience(p.o.Function)) {
		return iam.Principal{}, wrong
	}
	who, err := iam.ParsePrincipal(claims.Subject)
	if err != nil {
		return iam.Principal{}, wrong
	}
	who.Email = claims.Email
	return who, nil
}

// allowNamed is Allow for a caller whom the door has named: the function asks with
// its own key. Where the caller is nobody knows here, so that what depends on
// addresses is not allowed.
func (p *Platform) allowNamed(ctx context.Context, permission string, name resource.Name) error {
	who := iam.PrincipalOf(ctx)
	if who.Member() == "" || iam.Question(ctx, permission, name).AnyFields {
		return denial(who, name, permission)
	}
	_, err := p.ask(query{key: p.o.Key, about: who.Member(), permission: permission, name: name}, func(c *rpc.Client) (iam.Principal, error) {
		out, err := c.Call(ctx, p.explains, &iamv1.ExplainAccessRequest{Member: who.Member(), Permission: permission, Resource: string(name)})
		switch kind := fault.KindOf(err); {
		case kind == fault.Unauthenticated, kind == fault.Denied: // it is the function that may not ask
			return who, &fault.Error{
				Op: "remote.Allow", Name: string(name), Kind: fault.Unavailable, Reason: "MAY_NOT_ASK", Field: permission,
				Err: fmt.Errorf("the function's own account must have the permission iam.access.explain: %w", err),
			}
		case err != nil:
			return who, asked(err)
		}
		answer, ok := out.(*iamv1.ExplainAccessResponse)
		if !ok {
			return who, asked(errors.New("the platform explains nothing"))
		}
		if !answer.GetAllowed() {
			return who, denial(who, name, permission)
		}
		return who, nil
	})
	return err
}
