package main

import (
	"fmt"
	"net/http"
)

// Glance. The url ends in /v2.

const (
	listedImages = 1000
	bigImage     = 1 << 30 // bytes
	smallImage   = 4096    // bytes
)

// createImage makes an image without data and answers with its id.
func createImage(s *side, name string) (string, error) {
	var out struct{ ID string }
	err := s.document(http.MethodPost, "/images", nil, fmt.Sprintf(`{"name":%q,"disk_format":"raw","container_format":"bare"}`, name), &out)
	if err == nil && out.ID == "" {
		err = fmt.Errorf("POST /images: the answer has no id")
	}
	return out.ID, err
}

func uploadImage(s *side, id string, size int64) error {
	_, err := s.do(http.MethodPut, "/images/"+id+"/file", map[string]string{"Content-Type": "application/octet-stream"}, random(size), true)
	return err
}

// prepareImages makes the images that are listed.
func prepareImages(s *side) error {
	for n := range listedImages {
		if _, err := createImage(s, fmt.Sprintf("listed-%04d", n)); err != nil {
			return err
		}
	}
	return nil
}

var imageMeasures = []measure{
	{"list 1,000 images", "/s", func(s *side) (work, error) {
		return s.load(func(int, int) (int, error) {
			var out struct{ Images []struct{ ID string } }
			err := s.document(http.MethodGet, fmt.Sprintf("/images?limit=%d", listedImages), nil, "", &out)
			if err == nil && len(out.Images) != listedImages {
				err = fmt.Errorf("GET /images: %d images, expected %d", len(out.Images), listedImages)
			}
			return 1, err
		})
	}},
	{"upload 1 GiB", "MB/s", func(s *side) (work, error) {
		if s.big != "" {
			if _, err := s.do(http.MethodDelete, "/images/"+s.big, nil, nil, true); err != nil {
				return work{}, err
			}
		}
		id, err := createImage(s, "big")
		if err != nil {
			return work{}, err
		}
		s.big = id
		return timed(bigImage, func() error { return uploadImage(s, id, bigImage) })
	}},
	{"download 1 GiB", "MB/s", func(s *side) (work, error) {
		return timed(bigImage, func() error {
			_, err := s.do(http.MethodGet, "/images/"+s.big+"/file", nil, nil, false)
			return err
		})
	}},
	{"create, with 4 KiB of data", "/s", func(s *side) (work, error) {
		return s.load(func(w, n int) (int, error) {
			id, err := createImage(s, fmt.Sprintf("small-%d-%d", w, n))
			if err != nil {
				return 0, err
			}
			s.mu.Lock()
			s.made = append(s.made, id)
			s.mu.Unlock()
			return 1, uploadImage(s, id, smallImage)
		})
	}},
	{"show", "/s", func(s *side) (work, error) {
		return s.load(func(w, n int) (int, error) {
			id := s.made[(w*31+n)%len(s.made)]
			var out struct{ Status string }
			err := s.document(http.MethodGet, "/images/"+id, nil, "", &out)
			if err == nil && out.Status != "active" {
				err = fmt.Errorf("GET /images/%s: status %q, expected active", id, out.Status)
			}
			return 1, err
		})
	}},
	{"create and delete", "/s", func(s *side) (work, error) {
		return s.load(func(w, n int) (int, error) {
			id, err := createImage(s, fmt.Sprintf("short-%d-%d", w, n))
			if err == nil {
				err = uploadImage(s, id, smallImage)
			}
			if err == nil {
				_, err = s.do(http.MethodDelete, "/images/"+id, nil, nil, true)
			}
			return 1, err
		})
	}},
}
