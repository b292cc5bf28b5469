package vswitch

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Damage is what is wrong with a port's cable; its zero value is a good one.
type Damage struct {
	// Loss is the rate (0 to 1) of frames that get lost, in each direction.
	Loss float64
	// BytesPerSecond limits each direction; 0 means no limit.
	BytesPerSecond int
}

// slowQueue is how many frames wait before a slow cable; the others are lost, as in any switch.
const slowQueue = 64

// errLost is how the sending side counts a frame that a bad cable has lost.
var errLost = errors.New("lost on the cable")

// damage is a Damage at work.
type damage struct {
	Damage
	dev   Device
	queue chan []byte // towards the device, with a limited rate
	stop  chan struct{}
	once  sync.Once
}

// Damage makes the port's cable bad, or good again.
func (p *Port) Damage(d Damage) {
	var next *damage
	if d != (Damage{}) {
		next = &damage{Damage: d, dev: p.dev, queue: make(chan []byte, slowQueue), stop: make(chan struct{})}
		if d.BytesPerSecond > 0 {
			go next.drain()
		}
	}
	if old := p.damage.Swap(next); old != nil {
		old.once.Do(func() { close(old.stop) })
	}
}

func (d *damage) lost() bool { return d.Loss > 0 && rand.Float64() < d.Loss } //nolint:gosec // no secret

// wait takes as long as n bytes need on the cable.
func (d *damage) wait(n int) {
	if d.BytesPerSecond <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(n) * time.Second / time.Duration(d.BytesPerSecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.stop:
	}
}

// pass says whether a frame of n bytes comes through from the device, after the time it needs.
func (d *damage) pass(n int) bool {
	if d.lost() {
		return false
	}
	d.wait(n)
	return true
}

// delay sends a frame towards the device; it does not wait for it.
func (d *damage) delay(frame []byte) (int, error) {
	if d.lost() {
		return 0, errLost
	}
	if d.BytesPerSecond <= 0 {
		return d.dev.Write(frame)
	}
	select {
	case d.queue <- append([]byte(nil), frame...):
		return len(frame), nil
	default:
		return 0, errLost
	}
}

func (d *damage) drain() {
	for {
		select {
		case <-d.stop:
			return
		case f := <-d.queue:
			d.wait(len(f) - vnetLen)
			_, _ = d.dev.Write(f) // a device that refuses a frame loses it
		}
	}
}
