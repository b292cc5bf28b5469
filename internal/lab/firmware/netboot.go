package firmware

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/pin/tftp/v3"
	"github.com/vishvananda/netlink"

	"github.com/tripleo/tripleo/internal/netns"
)

const (
	// maxLoader and maxImage bound what is loaded, in bytes.
	maxLoader = 4 << 20
	maxImage  = 2 << 30
	// maxHeaderWait is how long a server may take to begin its answer.
	maxHeaderWait = 30 * time.Second

	// Waits of 1, 2, 4 and 8 s: ROMs start at 4 s (PXE 2.1, 2.2.2), a lab's network is faster.
	dhcpTimeout = time.Second
	dhcpRetries = 4

	// archBIOS is client system architecture 0 (RFC 4578 2.1): x86 PC with a BIOS.
	archBIOS = 0
)

// Config describes the machine that boots.
type Config struct {
	// Namespace is the network namespace of the interface; empty means the current one.
	Namespace string
	Interface string
	MAC       net.HardwareAddr
	UUID      string
	// Manufacturer, Product and Serial appear as settings to scripts.
	Manufacturer, Product, Serial string
	Console                       io.Writer
	// Phase is told what goes on; may be nil.
	Phase func(detail string)
	// ScratchDir is where loaded images are kept (files are unlinked at once).
	ScratchDir string
}

// NetBoot boots from the network once. It returns the image to run, or
// ErrNextDevice, ErrReboot, ErrPowerOff, or why it failed.
func NetBoot(ctx context.Context, cfg Config) (*BootImage, error) {
	n := &netboot{cfg: cfg}
	n.http = &http.Transport{DialContext: netns.Dialer(cfg.Namespace), ResponseHeaderTimeout: maxHeaderWait, DisableCompression: true}
	defer n.http.CloseIdleConnections()
	n.Printf("PXE: %s on %s\n", cfg.MAC, cfg.Interface)
	lease, err := n.discover(ctx, false)
	if err != nil {
		return nil, err
	}
	if err := n.firstStage(ctx, lease); err != nil {
		return nil, err
	}
	settings, err := n.DHCP(ctx)
	if err != nil {
		return nil, err
	}
	if n.filename == "" {
		return nil, errors.New("iPXE: the DHCP server named no boot script (option 67)")
	}
	n.Printf("iPXE: booting %s\n", n.filename)
	return NewScript(n, settings).Run(ctx, n.filename)
}

type netboot struct {
	cfg      Config
	http     *http.Transport
	filename string // boot script, absolute address
}

// Printf implements Host.
func (n *netboot) Printf(format string, args ...any) {
	_, _ = fmt.Fprintf(n.cfg.Console, format, args...)
}

func (n *netboot) phase(format string, args ...any) {
	if n.cfg.Phase != nil {
		n.cfg.Phase(fmt.Sprintf(format, args...))
	}
}

// discover does one DHCP exchange and configures the interface.
func (n *netboot) discover(ctx context.Context, ipxe bool) (*dhcpv4.DHCPv4, error) {
	n.phase("DHCP")
	var c *nclient4.Client
	err := netns.Do(n.cfg.Namespace, func() error {
		var err error
		c, err = nclient4.New(n.cfg.Interface, nclient4.WithTimeout(dhcpTimeout), nclient4.WithRetry(dhcpRetries), nclient4.WithHWAddr(n.cfg.MAC))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("DHCP: open %s: %w", n.cfg.Interface, err)
	}
	defer func() { _ = c.Close() }()
	mods, err := n.options(ipxe)
	if err != nil {
		return nil, err
	}
	lease, err := c.Request(ctx, mods...)
	if err != nil {
		return nil, fmt.Errorf("DHCP: no lease for %s: %w", n.cfg.MAC, err)
	}
	ack := lease.ACK
	n.Printf("DHCP: %s from %s, next server %s, file %q\n", ack.YourIPAddr, ack.ServerIdentifier(), nextServer(ack), bootFile(ack))
	return ack, n.configure(ack)
}

// options are those a PXE ROM (RFC 4578) or iPXE sends.
func (n *netboot) options(ipxe bool) ([]dhcpv4.Modifier, error) {
	id, err := hex.DecodeString(strings.ReplaceAll(n.cfg.UUID, "-", ""))
	if err != nil || len(id) != 16 {
		return nil, fmt.Errorf("%q is not a UUID", n.cfg.UUID)
	}
	mods := []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(fmt.Sprintf("PXEClient:Arch:%05d:UNDI:002001", archBIOS))),
		dhcpv4.WithGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, archBIOS}),
		dhcpv4.WithGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 2, 1}),
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, append([]byte{0}, id...)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName,
			dhcpv4.OptionRootPath, dhcpv4.OptionVendorSpecificInformation, dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName,
			dhcpv4.GenericOptionCode(150), dhcpv4.GenericOptionCode(175)),
	}
	if ipxe {
		mods = append(mods,
			// iPXE sends its user class as plain text, not as RFC 3004's list.
			dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE")),
			// Encapsulated feature list: HTTP (0x13) and bzImage (0x18) are compiled in.
			dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(175), []byte{0x13, 1, 1, 0x18, 1, 1}))
	}
	return mods, nil
}

// configure gives the interface the lease's address and route, nothing else.
func (n *netboot) configure(ack *dhcpv4.DHCPv4) error {
	err := netns.Do(n.cfg.Namespace, func() error {
		link, err := netlink.LinkByName(n.cfg.Interface)
		if err != nil {
			return err
		}
		mask := ack.SubnetMask()
		if mask == nil {
			mask = ack.YourIPAddr.DefaultMask()
		}
		old, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for i := range old {
			if err := netlink.AddrDel(link, &old[i]); err != nil {
				return err
			}
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: ack.YourIPAddr, Mask: mask}}
		if err := netlink.AddrReplace(link, addr); err != nil {
			return err
		}
		if gw := ack.Router(); len(gw) > 0 {
			return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gw[0]})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("configure %s as %s: %w", n.cfg.Interface, ack.YourIPAddr, err)
	}
	return nil
}

func nextServer(ack *dhcpv4.DHCPv4) string {
	if name := ack.TFTPServerName(); net.ParseIP(name) != nil {
		return name
	}
	if ip := ack.ServerIPAddr; ip != nil && !ip.IsUnspecified() {
		return ip.String()
	}
	if id := ack.ServerIdentifier(); id != nil {
		return id.String()
	}
	return ""
}

func bootFile(ack *dhcpv4.DHCPv4) string {
	if f := ack.BootFileNameOption(); f != "" {
		return strings.TrimRight(f, "\x00")
	}
	return strings.TrimRight(ack.BootFileName, "\x00")
}

// firstStage loads the network loader the ROM was told to run. Its code is
// not executed: the firmware goes on as iPXE, which it is.
func (n *netboot) firstStage(ctx context.Context, ack *dhcpv4.DHCPv4) error {
	file, server := bootFile(ack), nextServer(ack)
	if file == "" {
		return fmt.Errorf("PXE: the DHCP server %s named no boot file (option 67)", ack.ServerIdentifier())
	}
	n.phase("loads %s", file)
	if strings.Contains(file, "://") {
		u, err := url.Parse(file)
		if err != nil {
			return fmt.Errorf("PXE: boot file %q: %w", file, err)
		}
		_, err = n.Fetch(ctx, u)
		return err
	}
	loader, err := n.tftp(server, file)
	if err != nil {
		return err
	}
	if loader.Size() == 0 {
		return fmt.Errorf("PXE: tftp://%s/%s is empty", server, file)
	}
	n.Printf("PXE: tftp://%s/%s... ok (%d bytes)\n", server, file, loader.Size())
	return nil
}

// DHCP implements Host: the exchange iPXE does.
func (n *netboot) DHCP(ctx context.Context) (map[string]string, error) {
	ack, err := n.discover(ctx, true)
	if err != nil {
		return nil, err
	}
	file, server := bootFile(ack), nextServer(ack)
	n.filename = file
	if file != "" && !strings.Contains(file, "://") {
		n.filename = "tftp://" + server + "/" + strings.TrimPrefix(file, "/")
	}
	set := map[string]string{
		"mac": n.cfg.MAC.String(), "ip": ack.YourIPAddr.String(), "netmask": net.IP(ack.SubnetMask()).String(),
		"next-server": server, "filename": file, "uuid": n.cfg.UUID, "chip": "virtio-net", "busid": "01:1a:f4:10:00",
		"manufacturer": n.cfg.Manufacturer, "product": n.cfg.Product, "serial": n.cfg.Serial,
		"platform": "pcbios", "buildarch": "x86_64", "version": "1.21.1", "hostname": ack.HostName(),
	}
	if r := ack.Router(); len(r) > 0 {
		set["gateway"] = r[0].String()
	}
	if d := ack.DNS(); len(d) > 0 {
		set["dns"] = d[0].String()
	}
	if s := ack.ServerIdentifier(); s != nil {
		set["dhcp-server"] = s.String()
	}
	return set, nil
}

// Fetch implements Host for http and tftp.
func (n *netboot) Fetch(ctx context.Context, u *url.URL) (Blob, error) {
	n.phase("loads %s", u.Redacted())
	n.Printf("%s... ", u.Redacted())
	var b Blob
	var err error
	switch u.Scheme {
	case "http", "https":
		b, err = n.get(ctx, u)
	case "tftp":
		b, err = n.tftp(u.Host, strings.TrimPrefix(u.Path, "/"))
	default:
		err = fmt.Errorf("scheme %q is not built in", u.Scheme)
	}
	if err != nil {
		n.Printf("failed: %v\n", err)
		return nil, err
	}
	n.Printf("ok (%d bytes)\n", b.Size())
	return b, nil
}

func (n *netboot) get(ctx context.Context, u *url.URL) (Blob, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", u.Redacted(), err)
	}
	req.Header.Set("User-Agent", "iPXE/1.21.1")
	res, err := (&http.Client{Transport: n.http}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("GET: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", u.Redacted(), res.Status)
	}
	return n.keep(res.Body, maxImage)
}

func (n *netboot) tftp(server, file string) (Blob, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "69")
	}
	var b Blob
	err := netns.Do(n.cfg.Namespace, func() error {
		c, err := tftp.NewClient(server)
		if err != nil {
			return err
		}
		c.SetTimeout(2 * time.Second)
		c.SetBlockSize(1456) // fits Ethernet, as iPXE asks
		src, err := c.Receive(file, "octet")
		if err != nil {
			return err
		}
		b, err = n.keepFrom(func(w io.Writer) error {
			_, err := src.WriteTo(w)
			return err
		}, maxLoader)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tftp://%s/%s: %w", server, file, err)
	}
	return b, nil
}

// fileBlob is an unlinked file.
type fileBlob struct {
	file *os.File
	size int64
}

func (f fileBlob) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }
func (f fileBlob) Close() error                            { return f.file.Close() }

func (f fileBlob) Size() int64 { return f.size }

// File is the file itself, to hand to another process.
func (f fileBlob) File() *os.File { return f.file }

func (n *netboot) keep(r io.Reader, limit int64) (Blob, error) {
	return n.keepFrom(func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	}, limit)
}

// errTooLarge ends a transfer.
var errTooLarge = errors.New("the file is too large")

// keepFrom stores what fill writes, up to limit bytes, in an unlinked file.
func (n *netboot) keepFrom(fill func(io.Writer) error, limit int64) (Blob, error) {
	f, err := os.CreateTemp(n.cfg.ScratchDir, "boot-*")
	if err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unlink scratch file: %w", err), f.Close())
	}
	w := &limited{w: f, left: limit}
	if err := fill(w); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return fileBlob{f, limit - w.left}, nil
}

// Close releases the files of a boot image.
func (b *BootImage) Close() error {
	var errs []error
	for _, img := range append([]Image{b.Kernel}, b.Initrds...) {
		if c, ok := img.Content.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, errTooLarge
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	return n, err
}
