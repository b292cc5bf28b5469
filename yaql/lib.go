package yaql

// entry is one row of the standard library.
type entry struct {
	sig  string
	how  how
	impl func(*call) (any, error)
}

type how int

const (
	fn    how = 1 << iota // callable as name(...)
	meth                  // callable as receiver.name(...)
	rules                 // "k => v" arguments are rules
	both  = fn | meth
)

// newLibrary makes the context of the standard library. Overloads are tried in
// the order of the tables; the receiver or first parameter tells most apart.
func newLibrary(delegates bool) *Context {
	lib := &Context{}
	extra := []entry{}
	if delegates {
		extra = append(extra, entry{"lambda(func: func)", fn, func(c *call) (any, error) { return c.args[0], nil }})
	}
	for _, table := range [][]entry{extra, systemTable(), branchTable(), queryTable(), positionTable(), foldTable(), orderTable(), generatorTable(), collectionTable(),
		dictTable(), dictViewTable(), setTable(), stringTable(), trimTable(), regexTable(), mathTable(), timeTable()} {
		for _, e := range table {
			o, err := parseSignature(e.sig)
			if err != nil {
				panic(err) // a constant of this package; the tests build it
			}
			o.isFunc, o.isMethod, o.rules = e.how&fn != 0, e.how&meth != 0, e.how&rules != 0
			o.impl = e.impl
			lib.add(o)
		}
	}
	return lib
}
