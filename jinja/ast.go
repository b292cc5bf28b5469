package jinja

type expr interface{ pos() int }
type stmt interface{ pos() int }

type at struct{ line int }

func (a at) pos() int { return a.line }

type (
	nameExpr struct {
		at
		name string
	}
	constExpr struct {
		at
		val any
	}
	listExpr struct {
		at
		items []expr
	}
	tupleExpr struct {
		at
		items []expr
	}
	dictExpr struct {
		at
		keys, vals []expr
	}
	attrExpr struct {
		at
		obj  expr
		name string
	}
	itemExpr struct {
		at
		obj, key expr
	}
	sliceExpr struct {
		at
		obj, start, stop, step expr
	}
	callExpr struct {
		at
		fn   expr
		args callArgs
	}
	filterExpr struct {
		at
		obj  expr // nil inside a filter block: the block's text
		name string
		args callArgs
	}
	testExpr struct {
		at
		obj  expr
		name string
		args callArgs
		not  bool
	}
	binExpr struct {
		at
		op   string
		a, b expr
	}
	unaryExpr struct {
		at
		op string
		a  expr
	}
	logicExpr struct {
		at
		op   string
		a, b expr
	} // and, or
	notExpr struct {
		at
		a expr
	}
	concatExpr struct {
		at
		parts []expr
	}
	cmpExpr struct {
		at
		first expr
		ops   []string
		rest  []expr
	}
	condExpr struct {
		at
		cond, then, els expr
	}
)

type callArgs struct {
	pos         []expr
	kwNames     []string
	kwVals      []expr
	star, dstar expr
}

type (
	textStmt struct {
		at
		text string
	}
	outputStmt struct {
		at
		e expr
	}
	ifStmt struct {
		at
		conds  []expr
		bodies [][]stmt
		els    []stmt
	}
	forStmt struct {
		at
		target     expr
		iter, cond expr
		body, els  []stmt
		recursive  bool
		usesLoop   bool
	}
	setStmt struct {
		at
		target, val expr
	}
	setBlockStmt struct {
		at
		target expr
		filter *filterExpr
		body   []stmt
	}
	macroStmt struct {
		at
		name                                string
		params                              []string
		defaults                            []expr // of the last len(defaults) params
		body                                []stmt
		usesCaller, usesVarargs, usesKwargs bool
	}
	callStmt struct {
		at
		macro *macroStmt
		call  expr
	}
	filterStmt struct {
		at
		filter *filterExpr
		body   []stmt
	}
	withStmt struct {
		at
		targets, vals []expr
		body          []stmt
	}
	doStmt struct {
		at
		e expr
	}
	includeStmt struct {
		at
		name                       expr
		ignoreMissing, withContext bool
	}
	importStmt struct {
		at
		name        expr
		target      string
		withContext bool
	}
	fromStmt struct {
		at
		name           expr
		names, aliases []string
		withContext    bool
	}
	extendsStmt struct {
		at
		name expr
	}
	blockStmt struct {
		at
		name             string
		body             []stmt
		scoped, required bool
	}
	autoescapeStmt struct {
		at
		val  expr
		body []stmt
	}
	ctlStmt struct {
		at
		ctl loopControl
	}
)
