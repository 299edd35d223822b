// Package filter is the language in which lists say which objects they want,
// google.aip.dev/160 and some operators of SQL, and how an index answers it.
//
// # Grammar
//
//	filter     = [ expression ]
//	expression = factor { [ "AND" ] factor }            one after the other is AND too
//	factor     = term { "OR" term }
//	term       = [ "NOT" | "-" ] ( "(" expression ")" | test )
//	test       = path                                   a bool that must be true
//	           | path ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) literal
//	           | path ":" ( literal | "*" )
//	           | path "LIKE" literal
//	           | path [ "NOT" ] "IN" list
//	           | path "IS" [ "NOT" ] ( "NULL" | "NaN" )
//	           | path ( "CONTAINS" | "HAS" ) ( literal | ( "ANY" | "ALL" ) list )
//	list       = "(" literal { "," literal } ")"
//	path       = name { "." ( name | key | "*" ) }
//
// OR BINDS TIGHTER THAN AND, as google.aip.dev/160 wants it and unlike almost
// everywhere else: a AND b OR c is a AND (b OR c). [Filter.String] writes the
// parentheses.
//
// Words such as AND and LIKE are the same in lower case. A field has its name
// of the proto file or of JSON. A map key with other characters than letters,
// digits, "-" and "_" is written between backticks or quotes; a field that is
// called like a word too.
//
// A literal is text in "" or ” with the escapes of Go and \', \*, \%, \_ and
// \?; or it is without quotes, and ends at a space, a parenthesis, a comma, a
// sign of comparison, or a ":" if it does not begin with a digit, as times do.
// Numbers and bools have no quotes. Enums are names. Durations are 1.5s,
// timestamps are RFC 3339, bytes are Base64; duration("1.5s") and
// timestamp("…") say the same, and there are no other functions.
//
// Text after "=", "!=" and ":" may have "*" for any characters or none; \* is
// the star itself. Text after LIKE has "%" for any characters and "_" for one.
// Everywhere else they mean themselves.
//
// # Many values
//
// A path through a list, or through a map by "*", leads to many values, and
// only ":" and CONTAINS ask about those: whether one of them is as said. On a
// map they ask for a key, on a message for a field that is set.
//
// # What is not set
//
// A test of a value that is not there is false, also "!=" and NOT IN; NOT
// before a test is true then. Not there is what is behind a message that is not
// set, or a key that a map has not, and a field with presence that is not set.
// A scalar without presence always has a value once its message is set, but
// IS NULL counts its zero as not set.
//
//	                 not there   zero, no presence   zero, with presence   7
//	x = 0            false       true                true                  false
//	x != 0           false       false               false                 true
//	x != 7           false       true                true                  false
//	x < 9            false       true                true                  true
//	x IN (0)         false       true                true                  false
//	x NOT IN (7)     false       true                true                  false
//	NOT x = 7        true        true                true                  false
//	NOT x != 7       true        false               false                 true
//	x IS NULL        true        true                false                 false
//	x IS NOT NULL    false       false               true                  true
//	x:*              false       false               true                  true
//	x IS NOT NaN     false       true                true                  true
//
// A list or a map IS NULL when it is empty; the value of a key is set when the
// map has the key. A comparison with a NaN is false, but for "!=" and NOT IN.
//
// # Indexes
//
// [Entries] are the values that an object is found by, and [Filter.Conjuncts]
// are the conditions on entries that a filter implies, of which those that say
// the same as a part of the filter need not be asked again ([Filter.Residual]).
// The two agree: an object matches a filter if and only if all conditions hold
// for its entries and the residual matches.
//
// A [Filter] and an [Order] are safe for concurrent use.
package filter
