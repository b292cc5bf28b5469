// Package yaql is YAQL 2 ("yet another query language") for Go: the expression
// language of OpenStack's Heat and Mistral. Its measure is Python's yaql: same
// grammar, precedence, overloads and results; a differential test runs a corpus
// against the real one.
//
// The package is pure: no I/O, no package state, no goroutines. The clock comes
// with [Options]. Cost is bounded by the limits in Options and by the
// context.Context given to [Expr.Eval].
//
//	eng := yaql.New(yaql.Options{})
//	expr, err := eng.Parse("$.nodes.where($.state = up).select($.name)")
//	vars := eng.NewContext()
//	vars.Set("limit", int64(3))             // $limit
//	value, err := expr.Eval(ctx, data, vars) // $ is data
//
// # Values
//
// Results are nil, bool, int64, float64, string, []any, *Map, *Set, time.Time
// (with an offset), Timespan and *Regex. [Plain] turns them into the types
// encoding/json would decode to, except that integers stay int64. As data, any
// of these is taken, and also map[string]any (iterated in sorted key order),
// map[any]any, slices and maps of any type, all number types and json.Number.
// Values given as data are never changed.
//
// # Options
//
// The engine options of the original are those of [Options]: limitIterators, memoryQuota, convertSetsToLists
// (KeepSets is its opposite), iterableDicts, and the factory's keyword_operator and allow_delegates.
// convertInputData and convertTuplesToLists have no counterpart: data is not changed, and there are no tuples.
//
// # Functions
//
// Functions of one's own are registered on a [Context] with a signature such as
//
//	ctx.Register(yaql.Function{Sig: "task(name: str?=null)", Call: ...})
//
// see [Function].
package yaql
