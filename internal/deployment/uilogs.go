package deployment

import (
	"fmt"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	uiLog     = "tripleo-ui.logs"
	maxUILog  = 10 << 20 // bytes after which the log is rotated
	uiLogTime = "2006-01-02 15:04:05"
)

// formatMessages writes messages of the GUI's logging queue as lines: date, level, logger, message.
func formatMessages(_ *run, in input) (any, error) {
	var sb strings.Builder
	for _, m := range in.list("messages") {
		body := dig(m, "body")
		at := text(body, "timestamp")
		if ms := intOf(dig(body, "timestamp")); ms > 0 {
			at = time.UnixMilli(int64(ms)).UTC().Format(uiLogTime)
		}
		msg := dig(body, "message")
		words, ok := msg.(string)
		if !ok {
			b, err := yaml11.EncodeJSON(msg)
			if err != nil {
				return nil, err
			}
			words = string(b)
		}
		fmt.Fprintf(&sb, "%s %s %s %s\n", at, text(body, "level"), text(body, "logger"), strings.ReplaceAll(words, "\n", `\n`))
	}
	return sb.String(), nil
}

// publishUILog appends lines to the log in a container; a log that has grown too large is kept under another name.
func publishUILog(r *run, in input) (any, error) {
	container, lines := in.str("logging_container"), in.str("logging_data")
	if err := r.createContainer(container, nil); err != nil {
		return nil, err
	}
	old, err := r.getObject(container, uiLog)
	if err != nil && !isStatus(err, 404) {
		return nil, err
	}
	if len(old)+len(lines) > maxUILog && len(old) > 0 {
		if err := r.putObject(container, uiLog+"-"+r.ac.Started.UTC().Format("20060102150405"), old); err != nil {
			return nil, err
		}
		old = nil
	}
	return nil, r.putObject(container, uiLog, append(old, lines...))
}

// prepareLogDownload packs the logs of a container and returns the name of the tarball in downloads_container, where it
// is deleted after delete_after seconds.
func prepareLogDownload(r *run, in input) (any, error) {
	from, to := in.str("logging_container"), in.str("downloads_container")
	names, err := r.listObjects(from)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("container %s holds no logs", from)
	}
	after, err := in.integer("delete_after", 3600)
	if err != nil {
		return nil, err
	}
	data, err := tarFiles(names, func(n string) ([]byte, error) { return r.getObject(from, n) })
	if err != nil {
		return nil, err
	}
	if err := r.createContainer(to, nil); err != nil {
		return nil, err
	}
	object := "logs-" + r.ac.Started.UTC().Format("20060102150405") + ".tar.gz"
	_, _, err = r.swift("PUT", to, object, "", data, map[string]string{"X-Delete-After": fmt.Sprint(after), "Content-Type": "application/gzip"}, 201)
	return object, err
}
