package iam

import (
	"context"
	"time"
)

// Record is a key as it is stored: all but the secret.
type Record struct {
	// ID is unique: random, but for the bootstrap key that a person chose.
	ID string
	// Principal is the name of whom the key proves; see [ParsePrincipal].
	Principal string
	// DisplayName is for people.
	DisplayName string
	// Hash is that of the secret; see hash.go for its form.
	Hash string
	// Bootstrap marks the key that the operator gave when he started the
	// platform.
	Bootstrap  bool
	CreateTime time.Time
	// ExpireTime is when the key stops to work; zero is never.
	ExpireTime time.Time
}

// expired reports whether the key had expired by now.
func (r *Record) expired(now time.Time) bool {
	return !r.ExpireTime.IsZero() && !now.Before(r.ExpireTime)
}

// Query says which records are listed; its zero value is all of them.
type Query struct {
	// Principal, if not "", is the name of the one principal.
	Principal string
	// Project, if not "", is the id of the project that the principals are or
	// belong to.
	Project string
	// Kind, if not Anonymous, is the kind of the principals.
	Kind Kind
	// After keeps the records with a greater ID.
	After string
	// Limit bounds how many records are listed; 0 is no bound.
	Limit int
}

// Keys stores the records of keys. What a method did is durable when it
// returns. All may be called concurrently.
type Keys interface {
	// Create adds a record; Exists when its id is there.
	Create(ctx context.Context, r Record) error
	// Key returns the record of that id, or NotFound.
	Key(ctx context.Context, id string) (Record, error)
	// List returns the records that q asks for, sorted by id.
	List(ctx context.Context, q Query) ([]Record, error)
	// Delete removes the record of that id, or NotFound.
	Delete(ctx context.Context, id string) error
}
