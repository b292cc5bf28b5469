package lab

import "errors"

func (s *server) buildSim() error { return errors.New("wip") }
