package iam

import (
	"errors"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/iam"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/resource/rest"
)

// key is a key as it is served.
type key struct {
	// Name is "keys/ID".
	Name        string    `json:"name"`
	Principal   string    `json:"principal"`
	DisplayName string    `json:"displayName,omitempty"`
	CreateTime  time.Time `json:"createTime"`
	ExpireTime  time.Time `json:"expireTime,omitzero"`
	// Key is the key itself, in the answer to its making only.
	Key string `json:"key,omitempty"`
}

// served is the record as it is served.
func served(r iam.Record) key {
	return key{Name: "keys/" + r.ID, Principal: r.Principal, DisplayName: r.DisplayName, CreateTime: r.CreateTime, ExpireTime: r.ExpireTime}
}

// Routes adds the service's methods to r:
//
//	POST   /v1/keys       make; {"principal", "displayName", "expireTime"}
//	GET    /v1/keys?project=&pageSize=&pageToken=   list
//	DELETE /v1/keys/ID    revoke
//
// A principal is "admin", "projects/P" or "projects/P/devices/D". Making and
// revoking need iam.deviceKeys.VERB in its project for the key of a device, and
// iam.keys.VERB for any other. Listing all keys needs iam.keys.list; those of
// one project are listed with that permission in it, or with
// iam.deviceKeys.list, which shows those of its devices.
func (s *Service) Routes(r chi.Router) {
	r.Post("/v1/keys", rest.Handler(s.options.Logger, s.serveMake))
	r.Get("/v1/keys", rest.Handler(s.options.Logger, s.serveList))
	r.Delete("/v1/keys/{id}", rest.Handler(s.options.Logger, s.serveRevoke))
}

// serveMake makes a key.
func (s *Service) serveMake(r *http.Request) (any, error) {
	var body struct {
		Principal   string    `json:"principal"`
		DisplayName string    `json:"displayName"`
		ExpireTime  time.Time `json:"expireTime"`
	}
	if err := rest.Decode(r, &body); err != nil {
		return nil, err
	}
	p, err := iam.ParsePrincipal(body.Principal)
	if err != nil {
		return nil, err
	}
	if err := s.authorize(r, p, "create"); err != nil {
		return nil, err
	}
	if p.Kind == iam.Device && s.options.Devices != nil {
		if _, err := s.options.Devices.Device(r.Context(), p.Name); err != nil {
			return nil, err
		}
	}
	secret, record, err := s.keyring.Make(r.Context(), p, body.DisplayName, body.ExpireTime)
	if err != nil {
		return nil, err
	}
	made := served(record)
	made.Key = secret
	return made, nil
}

// serveList lists a page of keys by id.
func (s *Service) serveList(r *http.Request) (any, error) {
	q := iam.Query{Project: r.URL.Query().Get("project")}
	if err := s.options.Authorize(r, q.Project, "iam.keys.list"); err != nil {
		if q.Project == "" || s.options.Authorize(r, q.Project, "iam.deviceKeys.list") != nil {
			return nil, err
		}
		q.Kind = iam.Device
	}
	if q.Project != "" {
		if _, err := resource.Project.Format(q.Project); err != nil {
			return nil, err
		}
	}
	page, err := rest.PageOf(r)
	if err != nil {
		return nil, err
	}
	q.After, q.Limit = page.After, page.Size+1
	records, err := s.keyring.List(r.Context(), q)
	if err != nil {
		return nil, err
	}
	records, next := rest.Cut(page, records, func(r iam.Record) string { return r.ID })
	keys := make([]key, len(records))
	for i, record := range records {
		keys[i] = served(record)
	}
	return map[string]any{"keys": keys, "nextPageToken": next}, nil
}

// serveRevoke revokes a key. Who may not manage every key is not told which ids
// there are.
func (s *Service) serveRevoke(r *http.Request) (any, error) {
	id := chi.URLParam(r, "id")
	if !iam.ValidKeyID(id) {
		// Not repeated: it may be a whole key.
		return nil, &fault.Error{
			Op: "iam.Revoke", Kind: fault.Invalid, Reason: "INVALID_NAME", Field: "id",
			Err: errors.New("a key's id is the part between the underscores: svk_ID_…"),
		}
	}
	record, err := s.keyring.Key(r.Context(), id)
	if err != nil {
		if denied := s.options.Authorize(r, "", "iam.keys.delete"); denied != nil {
			return nil, denied
		}
		return nil, err
	}
	p, err := iam.ParsePrincipal(record.Principal)
	if err != nil {
		return nil, &fault.Error{Op: "iam.Revoke", Name: "keys/" + id, Kind: fault.Internal, Err: err}
	}
	if err := s.authorize(r, p, "delete"); err != nil {
		return nil, err
	}
	return rest.Empty{}, s.keyring.Revoke(r.Context(), id)
}
