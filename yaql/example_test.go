package yaql_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/yaql"
)

func Example() {
	eng := yaql.New(yaql.Options{})
	x, err := eng.Parse("$.nodes.where($.state = up and $.cpus > $limit).select($.name)")
	if err != nil {
		fmt.Println(err)
		return
	}
	vars := eng.NewContext()
	vars.Set("limit", 2)
	v, err := x.Eval(context.Background(), map[string]any{"nodes": []any{
		map[string]any{"name": "a", "state": "up", "cpus": 2}, map[string]any{"name": "b", "state": "up", "cpus": 4},
	}}, vars)
	fmt.Println(v, err)
	// Output: [b] <nil>
}

// A function of one's own is a signature and a Go function.
func ExampleContext_Register() {
	eng := yaql.New(yaql.Options{})
	vars := eng.NewContext()
	err := vars.Register(yaql.Function{
		Sig: "shout(text: str, times: int=1)", Method: true,
		Call: func(_ context.Context, a *yaql.Args) (any, error) {
			return strings.ToUpper(a.String(0)) + strings.Repeat("!", int(a.Int(1))), nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, src := range []string{"shout(hey)", "hey.shout(times => 3)"} {
		v, err := eng.Eval(context.Background(), src, nil, vars)
		fmt.Println(v, err)
	}
	// Output:
	// HEY! <nil>
	// HEY!!! <nil>
}

// A parameter of type func is an expression, evaluated as often as one likes.
func ExampleArgs_Call() {
	eng := yaql.New(yaql.Options{})
	vars := eng.NewContext()
	err := vars.Register(yaql.Function{Sig: "twice(value, f: func)", MethodOnly: true, Call: func(_ context.Context, a *yaql.Args) (any, error) {
		v, err := a.Call(1, a.Value(0))
		if err != nil {
			return nil, err
		}
		return a.Call(1, v)
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := eng.Eval(context.Background(), "5.twice($ * 10)", nil, vars)
	fmt.Println(v, err)
	// Output: 500 <nil>
}

// Maps keep their order, from JSON to JSON.
func ExampleParseJSON() {
	data, err := yaql.ParseJSON([]byte(`{"z": 1, "a": {"k": 2.0}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := yaql.New(yaql.Options{}).Eval(context.Background(), "$ + {b => 3}", data, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := yaql.JSON(v)
	fmt.Println(string(text), err)
	// Output: {"z":1,"a":{"k":2.0},"b":3} <nil>
}

// Errors have a kind and a column.
func ExampleError() {
	_, err := yaql.New(yaql.Options{}).Eval(context.Background(), "1 + foo(2)", nil, nil)
	var e *yaql.Error
	fmt.Println(errors.As(err, &e) && e.Kind == yaql.ErrName, e.Column)
	fmt.Println(err)
	// Output:
	// true 5
	// no function "foo" (column 5 of "1 + foo(2)")
}
