package rollup

import (
	"context"
	"database/sql"
	"hash/fnv"
	"strconv"
	"time"
)

// lease is the right to compute what a slot has, until somebody has a later
// fence.
type lease struct{ slot, fence int64 }

// acquire says that the member is there, takes the slots that are its own by
// rendezvous hashing and free, gives back those that are another's, and returns
// the leases that it has.
func (s state) acquire(ctx context.Context, member string, now time.Time, ttl time.Duration) (map[int]lease, error) {
	held := map[int]lease{}
	at, expires := now.UnixMilli(), now.Add(ttl).UnixMilli()
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		members, err := s.enter(ctx, tx, member, at, expires)
		if err != nil {
			return err
		}
		type entry struct {
			owner          string
			fence, expires int64
		}
		entries := map[int]entry{}
		err = each(ctx, tx, func(scan func(...any) error) error {
			var slot int
			var e entry
			if err := scan(&slot, &e.owner, &e.fence, &e.expires); err != nil {
				return err
			}
			entries[slot] = e
			return nil
		}, `SELECT slot, owner, fence, expires FROM rollup_leases`)
		if err != nil {
			return err
		}
		for slot := range slots {
			e := entries[slot]
			mine, meant := e.owner == member, ownerOf(slot, members) == member
			switch {
			case mine && !meant:
				e.owner, e.expires = "", 0
			case mine:
				e.expires = expires
			case meant && (e.owner == "" || e.expires <= at):
				e.owner, e.fence, e.expires = member, e.fence+1, expires
			default:
				continue
			}
			const write = `INSERT OR REPLACE INTO rollup_leases (slot, owner, fence, expires) VALUES (?, ?, ?, ?)`
			if _, err := tx.ExecContext(ctx, write, slot, e.owner, e.fence, e.expires); err != nil {
				return err
			}
			if e.owner == member {
				held[slot] = lease{int64(slot), e.fence}
			}
		}
		return nil
	})
	return held, err
}

// enter writes the member among those that are there, and returns them.
func (s state) enter(ctx context.Context, tx *sql.Tx, member string, at, expires int64) ([]string, error) {
	if _, err := tx.ExecContext(ctx, `DELETE FROM rollup_members WHERE expires <= ?`, at); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO rollup_members (member, expires) VALUES (?, ?)`, member, expires); err != nil {
		return nil, err
	}
	var members []string
	err := each(ctx, tx, func(scan func(...any) error) error {
		var m string
		if err := scan(&m); err != nil {
			return err
		}
		members = append(members, m)
		return nil
	}, `SELECT member FROM rollup_members`)
	return members, err
}

// ownerOf is the member that a slot is meant for: the one with the greatest
// hash of both, so that who comes or goes moves only its own slots.
func ownerOf(slot int, members []string) string {
	best, owner := uint64(0), ""
	for _, m := range members {
		h := fnv.New64a()
		_, _ = h.Write([]byte(m + " " + strconv.Itoa(slot))) // a hash takes everything
		// The last bytes of a text move only the low bits of its hash.
		if v := mix(h.Sum64()); owner == "" || v > best || v == best && m > owner {
			best, owner = v, m
		}
	}
	return owner
}

// mix spreads every bit of v over all of them (the finalizer of SplitMix64).
func mix(v uint64) uint64 {
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

// still returns those of the leases that nobody else has taken since.
func (s state) still(ctx context.Context, tx *sql.Tx, member string, held map[int]lease) (map[int]lease, error) {
	left := map[int]lease{}
	err := each(ctx, tx, func(scan func(...any) error) error {
		var slot int
		var fence int64
		if err := scan(&slot, &fence); err != nil {
			return err
		}
		if l, ok := held[slot]; ok && l.fence == fence {
			left[slot] = l
		}
		return nil
	}, `SELECT slot, fence FROM rollup_leases WHERE owner = ?`, member)
	return left, err
}

// leave gives back all that a member has.
func (s state) leave(ctx context.Context, member string) error {
	return s.transaction(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM rollup_members WHERE member = ?`, member); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE rollup_leases SET owner = '', expires = 0 WHERE owner = ?`, member)
		return err
	})
}
