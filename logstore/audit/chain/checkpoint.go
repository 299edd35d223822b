package chain

import (
	"bufio"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"selvedge.dev/sdk/fault"
)

// Checkpoint is the signed statement that a chain is what it is. Its text is a
// signed note with a checkpoint in it as c2sp.org/tlog-checkpoint describes
// them, which witnesses and other programs for transparency logs can read.
type Checkpoint struct {
	// Origin is the platform's name, Project the chain's.
	Origin, Project string
	// Size is how many records there are, Root the hash of their tree and Head
	// the last one's.
	Size       uint64
	Root, Head Hash
	// Time is when it was signed, at seconds.
	Time time.Time
	// KeyID is the key's, Signature the signature of Text with it.
	KeyID     string
	Signature []byte
}

// maxNote bounds the text of a checkpoint with the signatures of witnesses.
const maxNote = 16 << 10

// signatureMark begins the lines of a note that are signatures.
const signatureMark = "— "

// Text is what is signed.
func (c *Checkpoint) Text() string {
	return fmt.Sprintf("%s/%s\n%d\n%s\nhead %s\ntime %s\n", c.Origin, c.Project, c.Size, c.Root, c.Head, c.Time.UTC().Format(time.RFC3339))
}

// Note is the checkpoint with its signature.
func (c *Checkpoint) Note() string {
	hash, _ := keyHash(c.KeyID)
	line := base64.StdEncoding.EncodeToString(append(hash, c.Signature...))
	return c.Text() + "\n" + signatureMark + c.Origin + " " + line + "\n"
}

// Sign signs the checkpoint with the key.
func (c *Checkpoint) Sign(key crypto.Signer) error {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return fmt.Errorf("a key of type %T instead of Ed25519", key.Public())
	}
	c.KeyID = KeyID(c.Origin, public)
	c.Time = c.Time.UTC().Truncate(time.Second)
	var err error
	c.Signature, err = key.Sign(nil, []byte(c.Text()), crypto.Hash(0))
	return err
}

// ParseNote reads the text of one checkpoint. The signature is that of the
// origin itself; those of witnesses are passed over. origin is the platform's
// name, or "" for what stands before the first signature's project.
func ParseNote(text string) (Checkpoint, error) {
	c, err := parseNote(text)
	if err != nil {
		err = &fault.Error{Op: "chain.ParseNote", Kind: fault.Invalid, Reason: "AUDIT_CHECKPOINT_INVALID", Err: err}
	}
	return c, err
}

// parseNote is ParseNote without the words for callers.
func parseNote(text string) (c Checkpoint, err error) {
	body, signatures, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(body, "\n")
	if !ok || len(text) > maxNote || len(lines) < 5 || !strings.HasSuffix(signatures, "\n") {
		return c, errors.New("no checkpoint: five lines, an empty one and signatures")
	}
	for line := range strings.Lines(signatures) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), signatureMark)
		name, sum, more := strings.Cut(rest, " ")
		if !ok || !more {
			return c, fmt.Errorf("%q is no signature", line)
		}
		project, ok := strings.CutPrefix(lines[0], name+"/")
		if !ok || c.Signature != nil {
			continue // a witness
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(sum)
		if err != nil || len(raw) != 4+ed25519.SignatureSize {
			return c, fmt.Errorf("%q is no signature by Ed25519", line)
		}
		c.Origin, c.Project, c.Signature = name, project, raw[4:]
		c.KeyID = fmt.Sprintf("%s+%08x", name, raw[:4])
	}
	if c.Signature == nil {
		return c, fmt.Errorf("%q has no signature of its own", lines[0])
	}
	if c.Size, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
		return c, fmt.Errorf("size: %w", err)
	}
	if err := c.Root.UnmarshalText([]byte(lines[2])); err != nil {
		return c, fmt.Errorf("root: %w", err)
	}
	if err := c.Head.UnmarshalText([]byte(strings.TrimPrefix(lines[3], "head "))); err != nil {
		return c, fmt.Errorf("head: %w", err)
	}
	if c.Time, err = time.Parse(time.RFC3339, strings.TrimPrefix(lines[4], "time ")); err != nil {
		return c, fmt.Errorf("time: %w", err)
	}
	if c.Text() != body+"\n" {
		return c, errors.New("not in canonical form")
	}
	return c, CheckProject(c.Project)
}

// ReadNotes reads a file of checkpoints, one after the other: what
// `selvedge audit head` writes.
func ReadNotes(r io.Reader) ([]Checkpoint, error) {
	var notes []Checkpoint
	var text strings.Builder
	signed := false
	flush := func() error {
		if strings.TrimSpace(text.String()) == "" {
			return nil
		}
		c, err := ParseNote(text.String())
		notes, signed = append(notes, c), false
		text.Reset()
		return err
	}
	in := bufio.NewScanner(r)
	for in.Scan() {
		line := in.Text()
		mark := strings.HasPrefix(line, signatureMark)
		if signed && !mark {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		if text.Len() == 0 && line == "" {
			continue // between two
		}
		if text.Len() > maxNote {
			break
		}
		signed = mark
		text.WriteString(line + "\n")
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	return notes, flush()
}
