package main

import (
	"errors"
	"net/http"
	"strings"
)

// Keystone. The url ends in /v3.

// issue asks for a token by password.
func issue(s *side) (string, error) {
	a, err := s.do(http.MethodPost, "/auth/tokens", jsonType, strings.NewReader(s.auth), true)
	if err != nil {
		return "", err
	}
	token := a.header.Get("X-Subject-Token")
	if token == "" {
		return "", errors.New("POST /auth/tokens: the answer has no X-Subject-Token")
	}
	return token, nil
}

// prepareTokens gets the token that is validated; it validates itself.
func prepareTokens(s *side) error {
	token, err := issue(s)
	s.token = token
	return err
}

var tokenMeasures = []measure{
	{"token by password", "/s", func(s *side) (work, error) {
		return s.load(func(int, int) (int, error) {
			_, err := issue(s)
			return 1, err
		})
	}},
	{"token validated", "/s", func(s *side) (work, error) {
		return s.load(func(int, int) (int, error) {
			_, err := s.do(http.MethodGet, "/auth/tokens", map[string]string{"X-Subject-Token": s.token}, nil, true)
			return 1, err
		})
	}},
}
