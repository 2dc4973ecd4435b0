package admin

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"

	"sallyport"
	"sallyport/internal/audit/tlog"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/caller"
	"sallyport/internal/plumbing/httpsafe"
)

// LogFiles serves the log as C2SP tlog-tiles says, below /log/. Checkpoint and
// hash tiles are for everybody: outsiders verify with them, and they tell nothing
// but hashes. The entries say who did what, and need the permit to read the log.
type LogFiles struct {
	Guard    *guard.Guard
	Audience string
	Fetch    func(ctx context.Context, path string) ([]byte, error)
	Logger   *slog.Logger
}

// ServeHTTP serves one file.
func (l *LogFiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	path := strings.TrimPrefix(r.URL.Path, "/log/")
	if _, err := tlog.ParsePath(path); r.Method != http.MethodGet || path != tlog.CheckpointPath && err != nil {
		http.Error(w, "sallyport: the log has GET /log/checkpoint and GET /log/tile/…", http.StatusNotFound)
		return
	}
	var permit *guard.Permit
	if strings.HasPrefix(path, "tile/entries/") {
		if permit = l.check(w, r, path); permit == nil {
			return
		}
	}
	data, err := l.Fetch(r.Context(), path)
	if permit != nil {
		if derr := permit.Done(sallyport.Delivered{Bytes: int64(len(data))}); derr != nil {
			err = derr
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "sallyport: the log has no such file", http.StatusNotFound)
	case err != nil:
		l.Logger.ErrorContext(r.Context(), "read log file", "path", path, "err", err)
		http.Error(w, "sallyport: the log cannot be read now", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(data) // the client is gone: nothing is left to tell
	}
}

// check asks for the permit to read entries, or answers that there is none.
func (l *LogFiles) check(w http.ResponseWriter, r *http.Request, path string) *guard.Permit {
	p := proof(r, l.Audience)
	c := guard.Call{Door: "log", Action: sallyport.AuditRead, Target: sallyport.Ref{Kind: sallyport.SystemKind}, File: path, IP: p.IP, Proof: p}
	a, err := l.Guard.Check(r.Context(), c)
	switch {
	case err != nil:
		if httpsafe.Status(err) == http.StatusUnauthorized {
			caller.Challenge(w.Header(), err)
		}
		http.Error(w, "sallyport: "+sallyport.PublicText(err), httpsafe.Status(err))
	case a.Permit == nil:
		refuse(w, r, l.Logger, a, c)
	}
	return a.Permit
}

// Nowhere answers what no door serves: it is refused and recorded, as everything
// unknown is. The root leads to a page for people.
type Nowhere struct {
	Guard  *guard.Guard
	Home   string
	Logger *slog.Logger
}

// ServeHTTP refuses a request.
func (n *Nowhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	if r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		http.Redirect(w, r, n.Home, http.StatusSeeOther)
		return
	}
	id, err := n.Guard.Unmapped(r.Context(), guard.Call{Door: "none", IP: httpsafe.PeerIP(r)}, r.Method, r.URL.EscapedPath())
	if err != nil {
		http.Error(w, "sallyport: "+sallyport.PublicText(err), httpsafe.Status(err))
		return
	}
	http.Error(w, "Sallyport "+id+": no door serves this. The doors are /hf, /openai, /vault and /api; people begin at "+n.Home+".", http.StatusNotFound)
}
