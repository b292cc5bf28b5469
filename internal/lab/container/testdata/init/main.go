// Command init is a tiny ramdisk for the tests: it reports what it sees on the
// console and then does what the kernel argument end= says.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	cmdline, _ := os.ReadFile("/proc/cmdline")
	fmt.Printf("hello from PID %d: %s\n", os.Getpid(), strings.TrimSpace(string(cmdline)))
	for _, m := range [][2]string{{"devtmpfs", "/dev"}, {"sysfs", "/sys"}, {"proc", "/proc"}} {
		fmt.Printf("mount %s: busy=%v\n", m[0], errors.Is(syscall.Mount(m[0], m[1], m[0], 0, ""), syscall.EBUSY))
	}
	_, panicErr := os.OpenFile("/proc/sys/kernel/panic", os.O_WRONLY, 0)
	fmt.Printf("kernel settings: read-only=%v\n", errors.Is(panicErr, syscall.EROFS))
	var now syscall.Timeval // set to what it is: harmless even if it works
	_ = syscall.Gettimeofday(&now)
	fmt.Printf("clock: refused=%v\n", errors.Is(syscall.Settimeofday(&now), syscall.EPERM))
	size, _ := os.ReadFile("/sys/block/sda/size")
	blocks, _ := os.ReadDir("/sys/block")
	fmt.Printf("disks: %d, sda has %s sectors\n", len(blocks), strings.TrimSpace(string(size)))
	if err := syscall.Mknod("/dev/host", syscall.S_IFBLK|0o600, 8<<8); err == nil {
		_, err = os.Open("/dev/host")
		fmt.Printf("another disk: %v\n", err)
	}
	uuid, _ := os.ReadFile("/sys/class/dmi/id/product_uuid")
	fmt.Printf("uuid: %s", uuid)
	mac, _ := os.ReadFile("/sys/class/net/eth0/address")
	_, dev := os.Stat("/sys/class/net/eth0/device/driver")
	fmt.Printf("eth0: %s, has a device: %v\n", strings.TrimSpace(string(mac)), dev == nil)
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		addrs, _ := i.Addrs()
		fmt.Printf("interface %s up=%v addresses=%d\n", i.Name, i.Flags&net.FlagUp != 0, len(addrs))
	}
	cpus, _ := os.ReadFile("/proc/cpuinfo")
	mem, _ := os.ReadFile("/proc/meminfo")
	fmt.Printf("cpus: %d, %s\n", strings.Count(string(cpus), "processor\t"), strings.Join(strings.Fields(strings.SplitN(string(mem), "\n", 2)[0]), " "))
	writeDisk()
	switch {
	case strings.Contains(string(cmdline), "end=poweroff"):
		_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	case strings.Contains(string(cmdline), "end=reboot"):
		_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
	case strings.Contains(string(cmdline), "end=wait"):
		fmt.Println("waiting")
		c := make(chan os.Signal, 1)
		signal.Notify(c)
		for range c {
		}
	}
	os.Exit(7)
}

func writeDisk() {
	f, err := os.OpenFile("/dev/sda", os.O_RDWR, 0)
	if err != nil {
		fmt.Println("disk:", err)
		return
	}
	if _, err = f.WriteAt([]byte("written by init"), 4096); err == nil {
		err = f.Sync()
	}
	fmt.Printf("disk written: %v\n", errors.Join(err, f.Close()))
}
