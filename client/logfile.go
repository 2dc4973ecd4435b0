package client

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
)

// LogFile reads one file of the served log (C2SP tlog-tiles), such as "checkpoint" or "tile/0/000", in the form that
// package verify calls a Source. Checkpoint and tiles of hashes are public; bundles of entries need a token for whoever
// may read the log. A file that is not there is fs.ErrNotExist.
func (c *Client) LogFile(ctx context.Context, path string) ([]byte, error) {
	r := request{op: "read log", door: API, method: http.MethodGet, path: "/log/" + (&url.URL{Path: path}).EscapedPath()}
	if !strings.HasPrefix(path, "tile/entries/") {
		r.door = ""
	}
	answer, err := c.send(ctx, r)
	if e, ok := errors.AsType[*Error](err); ok && e.API.Status == http.StatusNotFound {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := readAll(answer.Body, maxAnswer)
	if err != nil {
		return nil, unreachable(r.op, c.server, err)
	}
	return text, nil
}
