package introspection

import "testing"

func TestControllerAddr(t *testing.T) {
	for in, want := range map[any]string{"192.0.2.7": "192.0.2.7", "2001:db8::7": "2001:db8::7", "::ffff:192.0.2.7": "192.0.2.7",
		"": "", "0.0.0.0": "", "::": "", "::/0": "", "bmc.example.com": "", "192.0.2.7/redirect?": "", "fe80::1%eth0": "", 7: "", nil: ""} {
		addr, ok := controllerAddr(in)
		if ok != (want != "") || ok && addr.String() != want {
			t.Errorf("%v: %v %v, want %q", in, addr, ok, want)
		}
	}
}
