package main

import (
	"fmt"
	"net/http"
	"strings"
)

// Swift. The url is the account's.

func prepareObjects(s *side) error {
	_, err := s.do(http.MethodPut, "/compare", nil, nil, true)
	return err
}

const bigObject = 1 << 30 // bytes

var objectMeasures = []measure{
	{"put 4 KiB", "/s", func(s *side) (work, error) {
		small := strings.Repeat("x", 4096)
		return s.load(func(w, n int) (int, error) {
			_, err := s.do(http.MethodPut, fmt.Sprintf("/compare/o%d-%d", w, n%50), nil, strings.NewReader(small), true)
			return 1, err
		})
	}},
	{"get 4 KiB", "/s", func(s *side) (work, error) {
		return s.load(func(w, _ int) (int, error) {
			_, err := s.do(http.MethodGet, fmt.Sprintf("/compare/o%d-0", w), nil, nil, false)
			return 1, err
		})
	}},
	{"put 1 GiB", "MB/s", func(s *side) (work, error) {
		return timed(bigObject, func() error {
			_, err := s.do(http.MethodPut, "/compare/big", nil, random(bigObject), false)
			return err
		})
	}},
	{"get 1 GiB", "MB/s", func(s *side) (work, error) {
		return timed(bigObject, func() error {
			_, err := s.do(http.MethodGet, "/compare/big", nil, nil, false)
			return err
		})
	}},
}
