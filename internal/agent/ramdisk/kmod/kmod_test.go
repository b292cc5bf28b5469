package kmod

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func tree() fstest.MapFS {
	return fstest.MapFS{
		"modules.dep": {Data: []byte("kernel/net/e1000e.ko: kernel/ptp.ko kernel/pps_core.ko\nkernel/ptp.ko: kernel/pps_core.ko\nkernel/pps_core.ko:\n" +
			"kernel/virtio_pci.ko: kernel/virtio.ko\nkernel/virtio.ko:\nkernel/virtio-net.ko: kernel/virtio.ko\n")},
		"modules.alias": {Data: []byte("# comment\nalias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n" +
			"alias virtio:d00000001v* virtio_net\nalias x86cpu:vendor:0000:family:*:model:*:feature:*0001* absent\n")},
	}
}

func TestColdplug(t *testing.T) {
	index, err := Parse(tree())
	if err != nil {
		t.Fatal(err)
	}
	sys := fstest.MapFS{"devices/pci0/1/modalias": {Data: []byte("pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00\n")},
		"devices/pci0/2/modalias": {Data: []byte("pci:v0000FFFFd00000001sv0sd0bc0sc0i0\n")}}
	var order []string
	l := &Loader{Index: index, Insert: func(file string) error {
		order = append(order, file)
		if file == "kernel/virtio_pci.ko" { // the bus driver finds the device behind it
			sys["devices/pci0/1/virtio0/modalias"] = &fstest.MapFile{Data: []byte("virtio:d00000001v00001AF4\n")}
		}
		if file == "kernel/virtio.ko" {
			return fs.ErrExist // loaded by somebody else: no problem
		}
		return nil
	}}
	loaded, failed := l.Coldplug(sys)
	if len(failed) > 0 {
		t.Error(failed)
	}
	if diff := cmp.Diff([]string{"kernel/virtio.ko", "kernel/virtio_pci.ko", "kernel/virtio-net.ko"}, order); diff != "" {
		t.Errorf("order: %s", diff)
	}
	if len(loaded) != 3 {
		t.Errorf("loaded %v", loaded)
	}
}

func TestLoad(t *testing.T) {
	index, err := Parse(tree())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kernel/pps_core.ko", "kernel/ptp.ko", "kernel/net/e1000e.ko"}, index.Order("e1000e")); diff != "" {
		t.Error(diff)
	}
	if index.Order("built_in") != nil {
		t.Error("a module without a file has an order")
	}
	l := &Loader{Index: index, Insert: func(string) error { return errors.New("Exec format error") }}
	if err := l.Load("e1000e"); err == nil {
		t.Error("a refused module is an error")
	}
	if err := l.Load("built_in"); err != nil {
		t.Errorf("a built-in module is none: %v", err)
	}
}

func TestSelect(t *testing.T) {
	index, err := Parse(tree())
	if err != nil {
		t.Fatal(err)
	}
	got := index.Select(func(file string) bool { return file == "kernel/net/e1000e.ko" })
	if diff := cmp.Diff([]string{"kernel/net/e1000e.ko", "kernel/pps_core.ko", "kernel/ptp.ko"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseWithoutData(t *testing.T) {
	if _, err := Parse(fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v: a ramdisk without modules must be recognisable", err)
	}
}
