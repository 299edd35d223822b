package command

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	trail "selvedge.dev/logstore/audit"
	"selvedge.dev/logstore/audit/chain"
)

// auditKey is `selvedge audit key`.
func (a *app) auditKey() *cobra.Command {
	return group("key", "The keys that the audit trail is signed with", a.auditKeyList(), a.auditKeyRotate())
}

// keyList are public keys as -o json shows them.
type keyList struct {
	Keys chain.Keys `json:"keys"`
}

// printKeys prints public keys, the oldest first.
func (a *app) printKeys(keys chain.Keys) error {
	return a.print(keyList{keys}, func(w io.Writer) {
		row(w, "KEY", "FROM", "UNTIL", "ENDORSED BY")
		for _, k := range keys {
			until := "now on"
			if !k.Until.IsZero() {
				until = k.Until.Format(time.RFC3339)
			}
			row(w, k.ID(), k.From.Format(time.RFC3339), until, k.By)
		}
	})
}

// auditKeyList is `selvedge audit key list`.
func (a *app) auditKeyList() *cobra.Command {
	var endpoint string
	c := &cobra.Command{
		Use: "list [PLACE]", Short: "The public keys, the oldest first", Args: between("", "PLACE"),
		Long: `The public keys that checkpoints were signed with, with their periods. PLACE is as
for selvedge audit verify; without it they are the running platform's. With
-o json it is what --keys reads: keep it elsewhere.`,
		Example: `  selvedge audit key list
  selvedge audit key list -o json > keys.json`,
		RunE: func(c *cobra.Command, args []string) error {
			place := ""
			if len(args) > 0 {
				place = args[0]
			}
			at, err := a.place(c.Context(), place, endpoint)
			if err != nil {
				return err
			}
			keys, err := at.Keys(c.Context())
			return errors.Join(err, a.printKeys(keys))
		},
	}
	c.Flags().StringVar(&endpoint, "endpoint", "", "the URL of the S3 server, if it is not Amazon's")
	return c
}

// auditKeyRotate is `selvedge audit key rotate`.
func (a *app) auditKeyRotate() *cobra.Command {
	return &cobra.Command{
		Use: "rotate [DATA]", Short: "Sign the audit trail with another key from now on", Args: between("", "DATA"),
		Long: `Make another signing key, and sign all checkpoints with it from now on. The key
before it vouches for it, and its private part is removed: who has public keys of
before goes on verifying, before and after, and who finds the old key cannot sign
for what was. DATA is the folder of a platform that stands still; without it the
running platform does it.

Rotate now and then, and when somebody may have read the key. A key that somebody
has copied can vouch for one of his, too: compare what this prints with
selvedge audit key list of later, or keep it elsewhere.`,
		Example: "  selvedge audit key rotate\n  selvedge audit key rotate /var/lib/selvedge",
		RunE: func(c *cobra.Command, args []string) error {
			var keys chain.Keys
			var err error
			if len(args) == 0 {
				var rotated keyList
				err = a.client().Call(c.Context(), http.MethodPost, "/v1/auditTrail:rotateKey", nil, struct{}{}, &rotated)
				keys = rotated.Keys
			} else {
				keys, err = rotateStored(c.Context(), args[0])
			}
			if err != nil {
				return err
			}
			return a.printKeys(keys)
		},
	}
}

// rotateStored rotates the key of a platform that stands still. What waits for a
// signature is signed with the old key first.
func rotateStored(ctx context.Context, data string) (keys chain.Keys, err error) {
	dir := filepath.Join(data, "audit")
	if _, err := os.Stat(filepath.Join(dir, "chains")); err != nil {
		dir = data
	}
	name, err := trail.KeyringName(filepath.Join(dir, "keys"))
	switch {
	case err != nil:
		return nil, err
	case name == "":
		return nil, usageError{errors.New(data + " is no folder of a platform's data: it has no keys of an audit trail")}
	}
	ring, err := trail.OpenKeyring(filepath.Join(dir, "keys"), name, nil)
	if err != nil {
		return nil, err
	}
	// Who has it open is told of here, and would sign with the old key.
	t, err := trail.Open(dir, trail.Options{Signer: ring})
	if err != nil {
		return nil, err
	}
	if err = t.Sign(ctx); err == nil {
		err = ring.Rotate()
	}
	return ring.Keys(), errors.Join(err, t.Close())
}
