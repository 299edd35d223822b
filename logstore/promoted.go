package logstore

// Promoted says by which labels entries such as one are looked for: their keys, of
// which a store that needs to be told makes an index. What is found never depends
// on them, only how soon.
//
// It goes by the entry's project, bucket, log and type of resource alone, answers
// at once, may be called concurrently, and may answer otherwise later. The keys
// are not changed; a store may take no more of them than the first MaxPromoted.
type Promoted func(e *Entry) []string

// MaxPromoted is the most labels of a kind of entries that a store makes an index
// of: more than anybody looks for by, and few enough to be tags of every row.
const MaxPromoted = 16
