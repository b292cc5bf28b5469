package compute

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// An interface is attached or detached by the server's job, as everything that
// changes its machine: what was asked for is in the store before it has an
// effect, and a process that dies in between is followed by one that ends it.
// The request waits for that end, because Nova answers with the interface.

// interfaceOp is a change of a server's interfaces under way.
type interfaceOp struct {
	ID     string          `json:"id"`
	Attach *NetworkRequest `json:"attach,omitempty"`
	Detach string          `json:"detach,omitempty"` // port id
}

// interfaceResult is how the last one ended.
type interfaceResult struct {
	ID      string `json:"id"`
	Port    string `json:"port"`
	Code    int    `json:"code"` // 0: it went well
	Message string `json:"message"`
}

// taskInterfaces keeps other work off the server meanwhile. Nova has no name
// for it: task_state does not show it.
const taskInterfaces = "interfaces"

// interfacePatience is how long a request waits for its end, and before that
// for the end of others.
const interfacePatience = time.Minute

// errUnderWay says that another change of interfaces has to end first.
var errUnderWay = errors.New("another change of interfaces is under way")

// changeInterface has the server's job carry out op and returns the server and
// the port it ended with.
func (svc *Service) changeInterface(r *http.Request, verb string, op interfaceOp) (*Server, string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), interfacePatience)
	defer cancel()
	op.ID = uuid.NewString()
	sub := svc.cfg.Bus.Subscribe("compute/server/" + r.PathValue("id"))
	defer sub.Close()
	for {
		err := svc.beginInterface(r, verb, op)
		if err == nil {
			break
		}
		if !errors.Is(err, errUnderWay) {
			return nil, "", err
		}
		if err := await(ctx, sub.C()); err != nil {
			return nil, "", api.Conflict("Cannot '%s' instance %s: %s", verb, r.PathValue("id"), errUnderWay).Wrap(err)
		}
	}
	for {
		s, err := svc.get(r)
		if err != nil {
			return nil, "", err
		}
		if res := s.Interface; res != nil && res.ID == op.ID {
			return s, res.Port, res.err()
		}
		if s.Task != taskInterfaces {
			return nil, "", api.Conflict("Cannot '%s' instance %s while it is in vm_state %s", verb, s.ID, vmStates[s.Status])
		}
		if err := await(ctx, sub.C()); err != nil {
			return nil, "", api.Conflict("Instance %s is still being changed: '%s' goes on.", s.ID, verb).Wrap(err)
		}
	}
}

// await returns when c says so, a moment later at the latest: another process's
// wake-ups may get lost.
func await(ctx context.Context, c <-chan struct{}) error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (res *interfaceResult) err() error {
	switch res.Code {
	case 0:
		return nil
	case http.StatusConflict:
		return api.Conflict("%s", res.Message)
	case http.StatusNotFound:
		return api.NotFound("%s", res.Message)
	default:
		return api.Invalid("%s", res.Message)
	}
}

func (svc *Service) beginInterface(r *http.Request, verb string, op interfaceOp) error {
	_, err := svc.change(r, func(tx *store.Tx, s *Server) error {
		if err := s.locked(r); err != nil {
			return err
		}
		if s.Task == taskInterfaces {
			return errUnderWay
		}
		if err := s.idle(verb); err != nil {
			return err
		}
		has := func(id string) bool {
			return slices.ContainsFunc(s.Ports, func(p ServerPort) bool { return p.ID == id })
		}
		if op.Attach != nil && has(op.Attach.Port) {
			return api.Conflict("Port %s is still in use.", op.Attach.Port)
		}
		if op.Detach != "" && !has(op.Detach) {
			return api.NotFound("Instance %s does not have a port with id %s.", s.ID, op.Detach)
		}
		s.Task, s.InterfaceOp = taskInterfaces, &op
		if err := record(tx, r, s.ID, verb); err != nil {
			return err
		}
		return svc.cfg.Jobs.Poke(tx, serverJob, s.ID, nil)
	})
	return err
}

// interfaces is the step of the server's job that ends what a request began.
func (b *build) interfaces(ctx context.Context) (jobs.Result, bool, error) {
	op := b.s.InterfaceOp
	if op == nil { // another run of this job has ended it
		b.s.Task = ""
		return jobs.Done(), false, b.save(ctx)
	}
	res := &interfaceResult{ID: op.ID, Port: op.Detach}
	err := b.s.onNode(ctx, b.ironic)
	if err == nil && op.Attach != nil {
		res.Port, err = b.attachOne(ctx, op)
	} else if err == nil {
		err = b.detachPort(ctx, op.Detach)
	}
	if e, ok := errors.AsType[*api.Error](err); ok && e.Status() < http.StatusInternalServerError {
		res.Code, res.Message = e.Status(), e.Message
	} else if err != nil {
		return jobs.Result{}, false, err
	}
	b.s.Task, b.s.InterfaceOp, b.s.Interface = "", nil, res
	return jobs.Done(), false, b.save(ctx)
}

// attachOne gives the server one more port, on a free NIC of its machine, and
// returns the port's id. It may be called again after a crash at any place.
func (b *build) attachOne(ctx context.Context, op *interfaceOp) (string, error) {
	req := *op.Attach
	have, err := b.ownPorts(ctx)
	if err != nil {
		return "", err
	}
	made, err := b.port(ctx, b.s.Name+"-"+op.ID[:8], req, have)
	if e, ok := errors.AsType[*api.Error](err); ok {
		return "", e
	}
	if refused(err) {
		return "", api.Invalid("Cannot give server %s the port: %s", b.s.Name, reason(err)).Wrap(err)
	}
	if err != nil {
		return "", err
	}
	if err := b.attach(ctx, made.ID); err != nil {
		if !refused(err) {
			return "", err
		}
		if req.Port == "" {
			err = errors.Join(err, gone(ports.Delete(ctx, b.neutron, made.ID).ExtractErr())) // nobody knows of it but us
		} else {
			err = errors.Join(err, gone(b.letGo(ctx, made.ID))) // or its owner could not use it again
		}
		return "", api.Invalid("Cannot attach a port to node %s: %s", b.label(), reason(err)).Wrap(err)
	}
	p, err := b.describe(ctx, made.ID, req.Port == "")
	if err != nil {
		return "", err
	}
	p.Tag = req.Tag
	b.s.Ports = append(b.s.Ports, *p)
	b.s.Networks = append(b.s.Networks, NetworkRequest{Port: p.ID, UUID: req.UUID, Tag: req.Tag, Ours: p.Ours})
	return p.ID, nil
}

// gone takes what is not there any more for deleted.
func gone(err error) error {
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// detachPort takes a port off the server and its machine.
func (b *build) detachPort(ctx context.Context, id string) error {
	i := slices.IndexFunc(b.s.Ports, func(p ServerPort) bool { return p.ID == id })
	if i < 0 {
		return nil
	}
	if err := b.release(ctx, &b.s.Ports[i]); err != nil {
		return err
	}
	b.s.Ports = slices.Delete(b.s.Ports, i, i+1)
	b.s.Networks = slices.DeleteFunc(b.s.Networks, func(n NetworkRequest) bool { return n.Port == id })
	return nil
}
