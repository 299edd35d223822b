package filter

// Entry is one value of one object by which it is found: a row of the table
// that drivers of the store keep for every object. Its Value is the
// order-preserving encoding of sdk/fieldpath. The store's drivers and their
// conformance suite rely on these types: keep them as they are.
type Entry struct {
	// Index is the canonical path of the index, as in schema.Index.
	Index string
	// Key is the map key of an index that is keyed, such as a label's name.
	Key string
	// Value is the encoded value.
	Value []byte
}

// Op is how a [Condition] compares.
type Op uint8

// The comparisons. The entries of an object that are meant are those with the
// condition's Index and Key.
const (
	// In holds if the value of an entry is one of Values.
	In Op = iota
	// Range holds if the value of an entry is between From and To.
	Range
	// All holds if every one of Values is the value of an entry.
	All
)

// Condition is what an index can tell about an object: it holds if an entry of
// the object is as Op says.
type Condition struct {
	// Index and Key say which entries.
	Index, Key string
	// Op says how they are compared.
	Op Op
	// Values are sorted and without duplicates; of In and All.
	Values [][]byte
	// From and To bound a Range; nil is no bound. From is excluded with
	// FromOpen, To is included with ToClosed.
	From, To           []byte
	FromOpen, ToClosed bool
}
