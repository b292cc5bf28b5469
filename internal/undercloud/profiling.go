package undercloud

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof" //nolint:gosec // served by a listener of its own, on loopback and only when it is configured
)

// openProfiling binds the listener of Go's profiles (`go tool pprof http://ADDRESS/debug/pprof/profile`). Profiles show
// what a process does and have no authentication, so that any address but a loopback one is refused.
func openProfiling(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("profiling: %q: %w", address, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("profiling: %q is no loopback address, expected one such as 127.0.0.1:6060", address)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("profiling: %w", err)
	}
	return l, nil
}

func profilingHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
