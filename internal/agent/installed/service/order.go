package service

import (
	"fmt"
	"slices"
	"strings"
)

// order puts the services so that each comes after those it names in After, and otherwise leaves them as they are. A name
// that is not in this step has nothing to wait for.
func order(list []Service) ([]Service, error) {
	index := map[string]int{}
	for i, s := range list {
		if j, twice := index[s.Name]; twice {
			return nil, fmt.Errorf("service %s is there twice, entries %d and %d", s.Name, j, i)
		}
		index[s.Name] = i
	}
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(list))
	out := make([]Service, 0, len(list))
	var visit func(i int, trail []string) error
	visit = func(i int, trail []string) error {
		trail = append(trail, list[i].Name)
		switch state[i] {
		case done:
			return nil
		case open:
			first := slices.Index(trail, list[i].Name)
			return fmt.Errorf("services wait for each other: %s", strings.Join(trail[first:], " after "))
		}
		state[i] = open
		for _, name := range list[i].After {
			if j, ok := index[name]; ok {
				if err := visit(j, trail); err != nil {
					return err
				}
			}
		}
		state[i] = done
		out = append(out, list[i])
		return nil
	}
	for i := range list {
		if err := visit(i, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}
