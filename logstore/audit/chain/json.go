package chain

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
)

// linkJSON is a link in JSON. The data is a string, so that no reader of JSON
// alters a byte of it.
type linkJSON struct {
	Project  string    `json:"project"`
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Category string    `json:"category"`
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	Data     *string   `json:"data,omitempty"`
	Salt     *Salt     `json:"salt,omitempty"`
	ErasedBy uint64    `json:"erasedBy,omitempty"`
	DataHash Hash      `json:"dataHash"`
	Prev     Hash      `json:"prev"`
	Hash     Hash      `json:"hash"`
}

// MarshalJSON implements json.Marshaler.
func (l Link) MarshalJSON() ([]byte, error) {
	f := linkJSON{
		Project: l.Project, Seq: l.Seq, Time: l.Time.UTC(), Category: l.Category, Type: l.Type, ID: l.ID,
		ErasedBy: l.ErasedBy, DataHash: l.DataHash, Prev: l.Prev, Hash: l.Hash,
	}
	if l.ErasedBy == 0 {
		data := string(l.Data)
		f.Data, f.Salt = &data, &l.Salt
	}
	return json.Marshal(f)
}

// UnmarshalJSON implements json.Unmarshaler. Fields that are not known are an
// error: what nobody verifies is not there.
func (l *Link) UnmarshalJSON(text []byte) error {
	var f linkJSON
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&f); err != nil {
		return err
	}
	*l = Link{
		Record: Record{Project: f.Project, ID: f.ID, Time: f.Time.UTC(), Category: f.Category, Type: f.Type},
		Seq:    f.Seq, ErasedBy: f.ErasedBy, DataHash: f.DataHash, Prev: f.Prev, Hash: f.Hash,
	}
	switch {
	case f.ErasedBy == 0 && (f.Data == nil || f.Salt == nil):
		return errors.New("a record with neither data and salt nor erasedBy")
	case f.ErasedBy != 0 && (f.Data != nil || f.Salt != nil):
		return errors.New("a record with erasedBy and with data or salt")
	case f.ErasedBy == 0:
		l.Data, l.Salt = []byte(*f.Data), *f.Salt
	}
	return nil
}
