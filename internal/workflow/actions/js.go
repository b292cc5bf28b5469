package actions

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"time"

	"github.com/dop251/goja"

	"github.com/tripleo/tripleo/yaql"
)

const (
	defaultJSTime   = 10 * time.Second
	defaultJSMemory = 256 << 20
	maxJSString     = 16 << 20 // of one call of a function that multiplies
	maxJSResult     = 8 << 20
	jsWatch         = 2 * time.Millisecond
)

// jsPrelude bounds the functions that make much of little in one step, where no
// interrupt can reach. It takes a limit and a function that throws.
const jsPrelude = `(function (most, refuse) {
  const wrap = (holder, name, size) => {
    const real = holder[name];
    Object.defineProperty(holder, name, {configurable: false, writable: false, value: function (...args) {
      if (size(this, args) > most) refuse();
      return real.apply(this, args);
    }});
  };
  const len = (x) => Number(x) || 0;
  wrap(String.prototype, "repeat", (s, a) => String(s).length * len(a[0]));
  wrap(String.prototype, "padStart", (s, a) => len(a[0]));
  wrap(String.prototype, "padEnd", (s, a) => len(a[0]));
  wrap(Array.prototype, "fill", (s, a) => s.length);
  wrap(Array.prototype, "join", (s, a) => s.length);
  wrap(Array, "from", (s, a) => a[0] && a[0].length);
  for (const name of ["ArrayBuffer", "Array", "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array", "Float32Array", "Float64Array"]) {
    const Real = globalThis[name];
    const check = (a) => { if (a.length === 1 && len(a[0]) > most) refuse(); };
    const guard = new Proxy(Real, {
      construct(t, a, n) { check(a); return Reflect.construct(t, a, n); },
      apply(t, s, a) { check(a); return Reflect.apply(t, s, a); },
    });
    Object.defineProperty(globalThis, name, {value: guard, configurable: false, writable: false});
    Object.defineProperty(Real.prototype, "constructor", {value: guard, configurable: false, writable: false});
  }
})`

// javascript runs the script as the body of a function with context as $. The
// engine has no timers, no modules, no files and no network; time and memory
// are bounded.
func (o StdOptions) javascript(ctx context.Context, _ *Context, in map[string]any) (any, error) {
	out, err := o.evalJS(ctx, String(in, "script"), in["context"])
	if err != nil {
		return nil, fmt.Errorf("JavaScriptAction failed: %w", err)
	}
	return out, nil
}

func (o StdOptions) evalJS(ctx context.Context, script string, data any) (any, error) {
	limit, memory := o.JSTime, o.JSMemory
	if limit <= 0 {
		limit = defaultJSTime
	}
	if memory == 0 {
		memory = defaultJSMemory
	}
	rt := goja.New()
	rt.SetMaxCallStackSize(2000)
	refuse := func() { panic(rt.NewTypeError("more than %d elements or characters at once", maxJSString)) }
	prelude, err := rt.RunString(jsPrelude)
	if err != nil {
		return nil, err
	}
	install, ok := goja.AssertFunction(prelude)
	if !ok {
		return nil, errors.New("the limits of the script cannot be set")
	}
	if _, err := install(goja.Undefined(), rt.ToValue(maxJSString), rt.ToValue(refuse)); err != nil {
		return nil, err
	}
	text, err := yaql.JSON(data)
	if err != nil {
		return nil, err
	}
	// The function is kept before the script can replace it.
	jsonOf, _ := goja.AssertFunction(rt.Get("JSON").ToObject(rt).Get("stringify"))
	parse, _ := goja.AssertFunction(rt.Get("JSON").ToObject(rt).Get("parse"))
	value, err := parse(goja.Undefined(), rt.ToValue(string(text)))
	if err != nil {
		return nil, err
	}
	if err := rt.Set("$", value); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the script ran for more than %s", limit))
	watched := make(chan struct{})
	go func() { defer close(watched); watchJS(ctx, rt, memory) }()
	defer func() { cancel(); <-watched }()
	result, err := rt.RunScript("script", "(function () {\n"+script+"\n})()")
	if err != nil {
		return nil, jsError(err)
	}
	if goja.IsUndefined(result) {
		return nil, nil
	}
	encoded, err := jsonOf(goja.Undefined(), result)
	if err != nil {
		return nil, jsError(err)
	}
	if goja.IsUndefined(encoded) { // a function or a symbol
		return nil, nil
	}
	s := encoded.String()
	if len(s) > maxJSResult {
		return nil, fmt.Errorf("the result has %d bytes, the limit is %d", len(s), maxJSResult)
	}
	return yaql.ParseJSON([]byte(s))
}

func jsError(err error) error {
	var stop *goja.InterruptedError
	if errors.As(err, &stop) {
		if cause, ok := stop.Value().(error); ok {
			return cause
		}
	}
	return err
}

// watchJS interrupts the script at its end of time, or when the heap of the
// process has grown by more than the script may use. Another's growth may be
// taken for the script's: the limit is a fuse, not a meter.
func watchJS(ctx context.Context, rt *goja.Runtime, memory uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	heap := func() uint64 { metrics.Read(sample); return sample[0].Value.Uint64() }
	before := heap()
	tick := time.NewTicker(jsWatch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			rt.Interrupt(context.Cause(ctx))
			return
		case <-tick.C:
			now := heap()
			if now < before {
				before = now // the collector ran
			}
			if now-before > memory {
				rt.Interrupt(fmt.Errorf("the script used more than %d bytes of memory", memory))
				return
			}
		}
	}
}
