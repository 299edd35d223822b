package iam

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"google.golang.org/protobuf/proto"

	iamv1 "selvedge.dev/functions/iam/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/iam/access"
	"selvedge.dev/sdk/iam/feed"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/schema"
)

// madeKey is what a new key is, before it is stored: the hook of its type puts
// all but the secret into the object.
type madeKey struct {
	id, hash, publicKey, secret string
}

// madeKeyOf finds the madeKey of a context.
type madeKeyOf struct{}

// Call is that of the service. The answer to the creation of a key or of an
// invitation has its secret, once.
func (a *Accounts) Call(ctx context.Context, m *schema.Method, req proto.Message) (proto.Message, error) {
	if _, ok := req.(*iamv1.CreateInvitationRequest); ok {
		return a.invite(ctx, func(ctx context.Context) (proto.Message, error) { return a.Service.Call(ctx, m, req) })
	}
	create, ok := req.(*iamv1.CreateServiceAccountKeyRequest)
	if !ok {
		out, err := a.Service.Call(ctx, m, req)
		hideHashes(out)
		return out, err
	}
	// Asked for here too: nobody else has a key made, which takes a while.
	if err := a.allow(iam.WithAnyResource(ctx), m.Permission, resource.Name(create.GetParent())); err != nil {
		return nil, err
	}
	made, err := newKey(create.GetServiceAccountKey())
	if err != nil {
		return nil, err
	}
	out, err := a.Service.Call(context.WithValue(ctx, madeKeyOf{}, made), m, req)
	if k, ok := out.(*iamv1.ServiceAccountKey); ok && err == nil && k.GetKeyId() == made.id {
		k.Secret = made.secret // else it is the answer to an earlier request
	}
	return out, err
}

// hideHashes takes the hashes of secrets out of an answer: who reads accounts
// need not guess at passwords.
func hideHashes(out proto.Message) {
	switch m := out.(type) {
	case *iamv1.User:
		m.PasswordHash = ""
	case *iamv1.ServiceAccountKey:
		m.Hash = ""
	case *iamv1.Invitation:
		m.Hash = ""
	case *iamv1.BatchGetUsersResponse:
		for _, u := range m.GetUsers() {
			hideHashes(u)
		}
	case *iamv1.BatchGetServiceAccountKeysResponse:
		for _, k := range m.GetServiceAccountKeys() {
			hideHashes(k)
		}
	case *iamv1.BatchGetInvitationsResponse:
		for _, i := range m.GetInvitations() {
			hideHashes(i)
		}
	}
}

// newKey makes what a key that is asked for is.
func newKey(k *iamv1.ServiceAccountKey) (*madeKey, error) {
	id, hash, key := iam.NewAccountKey()
	bits := map[iamv1.ServiceAccountKey_Algorithm]int{iamv1.ServiceAccountKey_RSA_2048: 2048, iamv1.ServiceAccountKey_RSA_4096: 4096}[k.GetAlgorithm()]
	switch {
	case bits == 0 && k.GetPublicKey() != "":
		return nil, invalid("serviceAccountKey.publicKey", "an API key has no public key: say which algorithm it is")
	case bits == 0:
		return &madeKey{id: id, hash: hash, secret: key}, nil
	case k.GetPublicKey() != "":
		public, err := feed.ParsePublicKey(k.GetPublicKey())
		if r, ok := public.(*rsa.PublicKey); err == nil && (!ok || r.N.BitLen() != bits) {
			err = fmt.Errorf("it is no RSA key of %d bits", bits)
		}
		if err != nil {
			return nil, invalid("serviceAccountKey.publicKey", "%w", err)
		}
		return &madeKey{id: id, publicKey: k.GetPublicKey()}, nil
	}
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return &madeKey{
		id: id, publicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		secret: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})),
	}, nil
}

// fillKey puts into a new key what was made for it.
func fillKey(ctx context.Context, k *iamv1.ServiceAccountKey) error {
	if k.GetAlgorithm() == iamv1.ServiceAccountKey_ALGORITHM_UNSPECIFIED {
		k.Algorithm = iamv1.ServiceAccountKey_API_KEY
	}
	made, ok := ctx.Value(madeKeyOf{}).(*madeKey)
	switch {
	case k.GetKeyId() != "": // a key that there is
	case !ok:
		return &fault.Error{Op: "iam.Save", Name: k.GetName(), Kind: fault.NotFound, Err: fmt.Errorf("there is no key %s: a key is made by its creation", k.GetName())}
	default:
		k.KeyId, k.Hash, k.PublicKey = made.id, made.hash, made.publicKey
	}
	return nil
}

// checkKey refuses a key whose time cannot come, and one of a service account
// that may do more than the caller.
func (a *Accounts) checkKey(ctx context.Context, old, k *iamv1.ServiceAccountKey) error {
	begin, end := k.GetNotBefore(), k.GetNotAfter()
	if begin != nil && end != nil && !begin.AsTime().Before(end.AsTime()) {
		return invalid("notAfter", "the key would stop to work before it begins to")
	}
	if old == nil && end != nil && !end.AsTime().After(a.store.Now()) {
		return invalid("notAfter", "the key would not work: that is past")
	}
	return a.coversMember(ctx, "name", access.ServiceAccount+string(resource.Name(k.GetName()).Parent()))
}
