package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/lab"
	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/container"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/qemu"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
)

// newLabCommand is `tripleo lab …`: the virtual lab.
func newLabCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "lab", Short: "Bare metal where there is none: machines with BMCs, disks and a VLAN switch"}
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", lab.DefaultDir, "folder of the lab: disks, consoles, control socket, instackenv.json")
	cmd.AddCommand(newLabUp(a, &dir), newLabDown(a, &dir), newLabStatus(a, &dir), newLabConsole(a, &dir), newLabPower(a, &dir), newLabFault(a, &dir), newLabPort(a, &dir))
	cmd.AddCommand(
		&cobra.Command{Use: "serve", Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return lab.ServeMain(cmd.Context(), dir)
		}},
		&cobra.Command{Use: "child", Hidden: true, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			return container.ChildMain()
		}},
	)
	return cmd
}

func newLabUp(a *app, dir *string) *cobra.Command {
	var cfg lab.Config
	def := lab.Config{}.WithDefaults()
	cmd := &cobra.Command{
		Use: "up", Short: "Make a lab and start it in the background", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Dir = *dir
			start := time.Now()
			st, err := lab.Up(cmd.Context(), cfg)
			if errors.Is(err, lab.ErrRunning) {
				return runningLab(cmd.Context(), a, cfg, err)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "lab %s is up: %d machines (%s) after %s\nnode file: %s\n%s",
				st.Name, len(st.Machines), st.Backend, time.Since(start).Round(10*time.Millisecond), st.Instackenv, undercloudPart(st))
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Nodes, "nodes", def.Nodes, "number of machines")
	f.StringVar(&cfg.Backend, "backend", def.Backend, "container (real software in namespaces), qemu (virtual machines with real firmware) or sim (thousands of simulated machines)")
	f.StringVar(&cfg.Name, "name", def.Name, "name of the lab and of its network namespace")
	f.IntVar(&cfg.CPUs, "cpus", 0, "processors of a machine (default 4, qemu 2)")
	f.IntVar(&cfg.MemoryMiB, "memory", 0, "memory of a machine, in MiB (default 6144, qemu 1024)")
	f.StringSliceVar(&cfg.Firmware, "firmware", def.Firmware, "qemu: firmware of the machines in order, bios or uefi; the last one is repeated")
	f.BoolVar(&cfg.IPv6, "ipv6", false, "qemu, UEFI: the machines boot by IPv6; the undercloud's address is "+lab.ProvisioningAddress6)
	f.StringVar(&cfg.Accel, "accel", def.Accel, "qemu: kvm, tcg, or auto: KVM where it really works")
	f.StringVar(&cfg.NICModel, "nic-model", def.NICModel, fmt.Sprintf("qemu: network card, one of %v", qemu.NICModels()))
	f.StringVar(&cfg.DiskBus, "disk-bus", def.DiskBus, fmt.Sprintf("qemu: how the disk is attached, one of %v", qemu.DiskBuses()))
	f.IntVar(&cfg.DiskGiB, "disk", def.DiskGiB, "size of a machine's disk, in GiB (sparse)")
	f.IntVar(&cfg.MTU, "mtu", def.MTU, "MTU of the network interfaces")
	f.StringSliceVar(&cfg.Profiles, "profiles", def.Profiles, "profile capability of the machines in order; the last one is repeated")
	f.Int64Var(&cfg.Seed, "seed", 1, "sim: seed of everything random")
	f.StringVar(&cfg.NodeURL, "node-url", "", "sim: the undercloud's provisioning listener (default "+lab.DefaultNodeURL+")")
	f.IntVar(&cfg.SimPort, "sim-port", def.SimPort, "sim: Redfish port on loopback; the agents' port is the next one")
	f.Float64Var(&cfg.SimSpeed, "sim-speed", def.SimSpeed, "sim: how many times faster than real hardware")
	f.Float64Var(&cfg.SimFailures, "sim-failures", 0, "sim: rate (0 to 1) at which software deployments fail")
	return cmd
}

// undercloudPart names the file for an undercloud that is to configure the
// lab's switch.
func undercloudPart(st *lab.Status) string {
	if st.Namespace == "" { // simulated machines have no switch
		return ""
	}
	return "for an undercloud that configures its switch: " + lab.UndercloudPath(st.Dir) + "\n"
}

// runningLab takes a lab that is up already for the one that was asked for, if
// it is alike.
func runningLab(ctx context.Context, a *app, cfg lab.Config, running error) error {
	st, err := lab.NewClient(cfg.Dir).Status(ctx)
	if err != nil {
		return running
	}
	if st.Name != cfg.Name || st.Backend != cfg.Backend || len(st.Machines) != cfg.Nodes {
		return fmt.Errorf("%w: it is %s with %d machines (%s); `tripleo lab down` first", running, st.Name, len(st.Machines), st.Backend)
	}
	_, err = fmt.Fprintf(a.stdout, "lab %s is up already: %d machines (%s)\nnode file: %s\n%s", st.Name, len(st.Machines), st.Backend, st.Instackenv, undercloudPart(st))
	return err
}

func newLabDown(a *app, dir *string) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use: "down", Short: "End the lab and remove every trace of it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lab.Down(cmd.Context(), *dir, keep); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.stdout, "the lab is down")
			return err
		},
	}
	cmd.Flags().BoolVar(&keep, "keep-disks", false, "keep the machines' disks and identities for the next lab in the same folder")
	return cmd
}

func newLabStatus(a *app, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the lab's machines and what they are doing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := lab.NewClient(*dir).Status(cmd.Context())
			if err != nil {
				return err
			}
			w := table.NewWriter()
			w.AppendHeader(table.Row{"Name", "Power", "Doing", "Since", "BMC", "MAC", "Profile", "Faults"})
			for _, m := range st.Machines {
				power := "off"
				if m.PoweredOn {
					power = "on"
				}
				var faults []string
				for _, f := range m.Faults {
					faults = append(faults, string(f))
				}
				doing := m.Phase
				if m.Detail != "" && m.Phase != "ramdisk" {
					doing += ": " + m.Detail
				}
				w.AppendRow(table.Row{m.Name, power, doing, time.Since(m.Since).Round(time.Second), m.PMType + " " + m.PMAddress, m.MAC, m.Profile, strings.Join(faults, " ")})
			}
			_, err = fmt.Fprintf(a.stdout, "lab %s (%s), process %d, network namespace %q\n%s\n", st.Name, st.Backend, st.PID, st.Namespace, w.Render())
			return err
		},
	}
}

func newLabConsole(a *app, dir *string) *cobra.Command {
	var follow bool
	var typed string
	cmd := &cobra.Command{
		Use: "console NODE", Short: "Show what a machine printed on its console", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := lab.NewClient(*dir)
			if typed != "" {
				return c.Type(cmd.Context(), args[0], []byte(typed+"\n"))
			}
			return c.Console(cmd.Context(), args[0], struct{ io.Writer }{a.stdout}, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what it prints from now on")
	cmd.Flags().StringVar(&typed, "type", "", "type this line on the console instead of showing it")
	return cmd
}

func newLabPower(_ *app, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "power NODE on|off|cycle|reset|soft|nmi", Short: "Do to a machine what its BMC would do", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			action, err := bmc.ParseAction(args[1])
			if err != nil {
				return err
			}
			return lab.NewClient(*dir).Power(cmd.Context(), args[0], action)
		},
	}
}

func newLabFault(_ *app, dir *string) *cobra.Command {
	var clear bool
	cmd := &cobra.Command{
		Use: "fault NODE FAULT", Short: "Break something in a machine, or repair it",
		Long: fmt.Sprintf("Break something in a machine, or repair it with --clear.\nFaults: %v", machine.AllFaults()),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("want a machine and a fault")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := machine.ParseFault(args[1])
			if err != nil {
				return err
			}
			return lab.NewClient(*dir).SetFault(cmd.Context(), args[0], f, !clear)
		},
	}
	cmd.Flags().BoolVar(&clear, "clear", false, "repair instead")
	return cmd
}

// newLabPort is `tripleo lab port`: the VLANs of a machine's cable.
func newLabPort(_ *app, dir *string) *cobra.Command {
	var native uint16
	var tagged []uint
	cmd := &cobra.Command{
		Use: "port NODE", Short: "Move a machine's cable to other VLANs of the lab's switch", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			vlans := make([]uint16, 0, len(tagged))
			for _, v := range tagged {
				if v == 0 || v > vswitch.MaxVLAN {
					return fmt.Errorf("--tagged %d: want 1 to %d", v, vswitch.MaxVLAN)
				}
				vlans = append(vlans, uint16(v))
			}
			return lab.NewClient(*dir).SetPort(cmd.Context(), args[0], native, vlans)
		},
	}
	cmd.Flags().Uint16Var(&native, "native", 1, "VLAN of untagged frames (1 is the provisioning network), 0 refuses them")
	cmd.Flags().UintSliceVar(&tagged, "tagged", nil, "VLANs carried with a tag")
	return cmd
}
