// Package netns opens sockets inside a named Linux network namespace, so that
// the undercloud can own sockets of a provisioning network that is not visible
// on the host (the virtual lab lives in namespaces of its own).
//
// A socket belongs for ever to the namespace it was created in, so only the
// creating call has to be made there: the calling goroutine is bound to its
// thread, enters the namespace, makes the call and goes back.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"runtime"

	vns "github.com/vishvananda/netns"
)

// ErrNotExist says that the named namespace does not exist (yet).
var ErrNotExist = errors.New("network namespace does not exist")

// Do runs fn with the calling thread inside the namespace name, as made by
// `ip netns add`. The empty name means the current namespace. fn must not
// start goroutines that rely on the namespace.
func Do(name string, fn func() error) error {
	if name == "" {
		return fn()
	}
	target, err := vns.GetFromName(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %q", ErrNotExist, name)
		}
		return fmt.Errorf("open network namespace %q: %w", name, err)
	}
	defer func() { _ = target.Close() }()

	runtime.LockOSThread()
	home, err := vns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("read current network namespace: %w", err)
	}
	defer func() { _ = home.Close() }()
	if err := vns.Set(target); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %q: %w", name, err)
	}
	fnErr := fn()
	if err := vns.Set(home); err != nil {
		// The thread is lost to the wrong namespace: keep it locked, so that
		// the runtime ends it together with this goroutine.
		return errors.Join(fnErr, fmt.Errorf("leave network namespace %q: %w", name, err))
	}
	runtime.UnlockOSThread()
	return fnErr
}

// Dialer returns a dial function for IP literals that opens its sockets in the
// namespace name. It has the shape of http.Transport.DialContext.
func Dialer(name string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var conn net.Conn
		err := Do(name, func() error {
			var d net.Dialer
			var err error
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}

// Listen is net.Listen inside the namespace name.
func Listen(name, network, addr string) (net.Listener, error) {
	var l net.Listener
	err := Do(name, func() error {
		var err error
		l, err = new(net.ListenConfig).Listen(context.Background(), network, addr)
		return err
	})
	return l, err
}

// ListenPacket is net.ListenPacket inside the namespace name.
func ListenPacket(name, network, addr string) (net.PacketConn, error) {
	var c net.PacketConn
	err := Do(name, func() error {
		var err error
		c, err = new(net.ListenConfig).ListenPacket(context.Background(), network, addr)
		return err
	})
	return c, err
}
