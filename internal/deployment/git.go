package deployment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

const (
	fetchTime   = 10 * time.Minute // of a clone or a download
	maxCheckout = maxTarball       // bytes of a clone, with its history of one commit
)

// splitRef takes the branch, tag or commit off a URL of the form url@ref.
func splitRef(raw string) (string, string) {
	i := strings.LastIndexByte(raw, '@')
	if i < 0 || strings.ContainsAny(raw[i:], ":/") && strings.Contains(raw[i:], "://") || i < strings.LastIndexByte(raw, '/') {
		return raw, ""
	}
	return raw[:i], raw[i+1:]
}

// checkSource says whether a plan may be fetched from a URL: over HTTP(S), Git's protocol or SSH, never from a file
// of the undercloud.
func checkSource(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("the source is no URL")
	}
	switch u.Scheme {
	case "http", "https", "git", "ssh":
		if u.Host != "" {
			return nil
		}
	}
	return fmt.Errorf("the source of a plan is a URL of scheme http, https, git or ssh, not %q", u.Redacted())
}

// gitClone checks a repository out on this host: inputs container and url (url@ref for a branch, tag or commit);
// the result is the folder. `tripleo.git.clean` removes it.
func gitClone(r *run, in input) (any, error) {
	if err := r.onlyAdmin("tripleo.git.clone"); err != nil {
		return nil, err
	}
	if !planName.MatchString(in.str("container")) {
		return nil, errors.New("the plan name must only contain letters, numbers or dashes")
	}
	work, err := r.workDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(work, "*_"+in.str("container")+"_import")
	if err != nil {
		return nil, err
	}
	if err := r.fetchGit(dir, in.str("url")); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// gitClean removes the checkouts of a plan.
func gitClean(r *run, in input) (any, error) {
	if err := r.onlyAdmin("tripleo.git.clean"); err != nil {
		return nil, err
	}
	if !planName.MatchString(in.str("container")) {
		return nil, errors.New("the plan name must only contain letters, numbers or dashes")
	}
	work, err := r.workDir()
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(work, "*_"+in.str("container")+"_import"))
	if err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("there is no checkout of plan %s", in.str("container"))
	}
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// fetchGit clones one commit of a repository into an empty folder, bounded in time and size.
func (r *run) fetchGit(dir, source string) error {
	repo, ref := splitRef(source)
	if err := checkSource(repo); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, fetchTime)
	defer cancel()
	done := make(chan struct{})
	var tooBig error
	go func() { // stops a clone that grows too large
		defer close(done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if size, err := treeSize(dir); err == nil && size > maxCheckout {
					tooBig = fmt.Errorf("the repository is larger than %d bytes", maxCheckout)
					cancel()
					return
				}
			}
		}
	}()
	err := cloneRef(ctx, dir, repo, ref)
	cancel()
	<-done
	if tooBig != nil {
		return tooBig
	}
	if err != nil {
		u, _ := url.Parse(repo)
		return fmt.Errorf("clone of %s: %w", u.Redacted(), err)
	}
	return nil
}

// cloneRef clones a branch, a tag, or by its hash a commit.
func cloneRef(ctx context.Context, dir, repo, ref string) error {
	opts := git.CloneOptions{URL: repo, Depth: 1, SingleBranch: true, Tags: git.NoTags}
	if ref == "" {
		_, err := git.PlainCloneContext(ctx, dir, false, &opts)
		return err
	}
	for _, name := range []plumbing.ReferenceName{plumbing.NewBranchReferenceName(ref), plumbing.NewTagReferenceName(ref)} {
		opts.ReferenceName = name
		_, err := git.PlainCloneContext(ctx, dir, false, &opts)
		if !errors.Is(err, git.NoMatchingRefSpecError{}) && !errors.Is(err, plumbing.ErrReferenceNotFound) {
			return err
		}
		if err := emptyDir(dir); err != nil {
			return err
		}
	}
	if !plumbing.IsHash(ref) {
		return fmt.Errorf("there is no branch or tag %q", ref)
	}
	rep, err := git.PlainCloneContext(ctx, dir, false, &git.CloneOptions{URL: repo, Tags: git.NoTags})
	if err != nil {
		return err
	}
	tree, err := rep.Worktree()
	if err != nil {
		return err
	}
	return tree.Checkout(&git.CheckoutOptions{Hash: plumbing.NewHash(ref)})
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// planImport fills a plan from a URL in one action, which can be run again: a tarball (.tar.gz, .tgz) over HTTP, or a
// Git repository (url@ref). Inputs container, url, keep_environment.
func planImport(r *run, in input) (any, error) {
	container, source := in.str("container"), in.str("url")
	base, _ := splitRef(source)
	if err := checkSource(base); err != nil {
		return nil, err
	}
	u, err := url.Parse(source)
	if err != nil {
		return nil, errors.New("the source is no URL")
	}
	if strings.HasSuffix(u.Path, ".tar.gz") || strings.HasSuffix(u.Path, ".tgz") {
		data, err := r.download(u)
		if err != nil {
			return nil, err
		}
		return nil, r.uploadTarball(container, data, in.boolean("keep_environment"))
	}
	if err := r.onlyAdmin("A plan from a Git repository"); err != nil {
		return nil, err
	}
	work, err := r.workDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(work, "*_"+container+"_import")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := r.fetchGit(dir, source); err != nil {
		return nil, err
	}
	data, err := tarDir(dir)
	if err != nil {
		return nil, err
	}
	return nil, r.uploadTarball(container, data, in.boolean("keep_environment"))
}

// download fetches a tarball of a plan. What the undercloud can reach a caller could read this way, hence the role.
func (r *run) download(u *url.URL) ([]byte, error) {
	if err := r.onlyAdmin("A plan from a URL"); err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("a tarball comes over http or https, not %s", u.Scheme)
	}
	ctx, cancel := context.WithTimeout(r.ctx, fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("download of %s: %w", u.Redacted(), errors.Unwrap(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
		return nil, fmt.Errorf("download of %s: the server answered %s", u.Redacted(), resp.Status)
	}
	return readLimited(resp.Body, maxTarball)
}

// uploadTarball puts the files of a tarball into a plan. When all of them are in one folder, as the archives of
// repositories have it, that folder is left out.
// With keepEnv the plan environment of the plan stays, which has its passwords and parameters.
func (r *run) uploadTarball(container string, data []byte, keepEnv bool) error {
	files := map[string][]byte{}
	var names []string
	err := untar(data, func(name string, content []byte) error {
		if !skipPath(name) {
			if files[name] == nil {
				names = append(names, name)
			}
			files[name] = content
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errors.New("the tarball has no files")
	}
	top := commonFolder(names)
	var out []string
	for _, n := range names {
		short := strings.TrimPrefix(n, top)
		if keepEnv && short == planEnvFile {
			continue
		}
		out = append(out, short)
		files[short] = files[n]
	}
	packed, err := tarFiles(out, func(name string) ([]byte, error) { return files[name], nil })
	if err != nil {
		return err
	}
	return r.extract(container, packed)
}

// skipPath tells whether a file is in a folder that never goes into a plan.
func skipPath(name string) bool {
	for _, part := range strings.Split(name, "/") {
		if skipTemplate(part) {
			return true
		}
	}
	return false
}

// commonFolder is the one folder, with a slash at its end, that all names begin with; "" if there is none.
func commonFolder(names []string) string {
	top, _, ok := strings.Cut(names[0], "/")
	for _, n := range names {
		if !ok || !strings.HasPrefix(n, top+"/") {
			return ""
		}
	}
	return top + "/"
}
