package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/demo/people"
	"sallyport/verify"
)

func (s *story) whyOwn(ctx context.Context, ana *people.Person) (seen, error) {
	w, err := ana.Client.Why(ctx, s.denied)
	if err != nil {
		return seen{}, err
	}
	if len(w.Policies) == 0 || w.Policies[0].Code != "" || len(w.Remedies) == 0 || w.Facts != nil {
		return seen{}, fmt.Errorf("she is told %d policies, %d ways out, and facts: %t", len(w.Policies), len(w.Remedies), w.Facts != nil)
	}
	return s.latest(ctx, ana, sallyport.ServerRead, fmt.Sprintf("%q; what would help: %s", w.Policies[0].Text, w.Remedies[0].Command))
}

func (s *story) whyOthers(ctx context.Context, nora *people.Person) (seen, error) {
	_, err := nora.Client.Why(ctx, s.denied)
	e, err := refusal(err)
	if err == nil && e.Status != http.StatusNotFound {
		err = errors.New(e.Message)
	}
	return seen{outcome: "not-found", note: e.Message}, err
}

func (s *story) whyAuditor(ctx context.Context, alba *people.Person) (seen, error) {
	w, err := alba.Client.Why(ctx, s.denied)
	if err != nil {
		return seen{}, err
	}
	if w.Replay == nil || !w.Replay.Same || w.Facts == nil || len(w.Policies) == 0 || w.Policies[0].Code == "" {
		return seen{}, errors.New("facts, policies or the second decision are missing")
	}
	return s.latest(ctx, alba, sallyport.ServerRead, fmt.Sprintf("made again: %s, as recorded; facts in entry %d, owner of the policy: %s", w.Replay.Again, w.Facts.Seq, w.Policies[0].Owner))
}

func (s *story) can(ctx context.Context, rita *people.Person) (seen, error) {
	a, err := rita.Client.Can(ctx, client.Can{Action: sallyport.ModelPull, Resource: guarded, As: "user:ana"})
	if err != nil {
		return seen{}, err
	}
	if a.Outcome != sallyport.Deny.String() || !slices.ContainsFunc(a.Remedies, func(m sallyport.Remedy) bool { return m.Kind == sallyport.RemedyRequest }) {
		return seen{}, fmt.Errorf("the answer is %s with %d ways out", a.Outcome, len(a.Remedies))
	}
	return s.latest(ctx, rita, sallyport.ServerRead, "no; she may ask for it, and show a passkey")
}

func (s *story) matrix(ctx context.Context, rita *people.Person) (seen, error) {
	m, err := rita.Client.Matrix(ctx, sallyport.MultiFactor, "")
	if err != nil {
		return seen{}, err
	}
	cells := map[string]int{}
	for _, row := range m.Rows {
		for _, cell := range row.Cells {
			cells[cell]++
		}
	}
	if cells["allow"] == 0 || cells["deny"] == 0 || cells["request"] == 0 {
		return seen{}, fmt.Errorf("the matrix is all of a kind: %v", cells)
	}
	return s.latest(ctx, rita, sallyport.PolicyRead, fmt.Sprintf("%d rows: %d allowed, %d after a step-up, %d on request, %d denied", len(m.Rows), cells["allow"], cells["step-up"], cells["request"], cells["deny"]))
}

// entry is the number of a decision in the log.
func (s *story) entry(ctx context.Context, decision string) (uint64, error) {
	alba, err := s.who("alba")
	if err != nil {
		return 0, err
	}
	found, err := alba.Client.Search(ctx, client.Search{Decision: decision, Types: []string{string(sallyport.EventDecided)}, Most: 1})
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("the log has no decision %q", decision)
	}
	if err != nil {
		return 0, err
	}
	return found[0].Seq, nil
}

func (s *story) receipt(ctx context.Context, _ *people.Person) (seen, error) {
	seq, err := s.entry(ctx, s.denied)
	if err != nil {
		return seen{}, err
	}
	receipt, err := s.cast["alba"].Client.Receipt(ctx, seq)
	if err != nil {
		return seen{}, err
	}
	proven, err := verify.Receipt(receipt, s.server.LogKey())
	if err != nil {
		return seen{}, err
	}
	if proven.Index != seq || !bytes.Contains(proven.Leaf, []byte(s.denied)) {
		return seen{}, fmt.Errorf("the receipt proves entry %d, not %d", proven.Index, seq)
	}
	return seen{resource: "entry " + fmt.Sprint(seq), outcome: "verified", decision: s.denied, note: fmt.Sprintf("%d bytes, of a log of %d entries", len(receipt), proven.Size)}, nil
}

// flips changes one byte of the record of a denial, in a copy of the log.
func (s *story) flips(ctx context.Context, _ *people.Person) (seen, error) {
	seq, err := s.entry(ctx, s.denied)
	if err != nil {
		return seen{}, err
	}
	copied, err := s.copyLog()
	if err != nil {
		return seen{}, err
	}
	flipped := 0
	err = filepath.WalkDir(filepath.Join(copied, "tile", "entries"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		at := bytes.Index(text, []byte(s.denied)) // a bundle may be there in several states of growth
		if err != nil || at < 0 {
			return err
		}
		text[at+len("D-")] ^= 1
		flipped++
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, text, 0o600)
	})
	if err != nil || flipped == 0 {
		return seen{}, fmt.Errorf("no byte was flipped: %w", err)
	}
	_, err = verify.Log(ctx, verify.Dir(copied), s.server.LogKey(), verify.Options{})
	bad, ok := errors.AsType[*verify.Finding](err)
	if !ok {
		return seen{}, fmt.Errorf("the change was not found: %w", err)
	}
	if bad.Index != seq || bad.Last != seq {
		return seen{}, fmt.Errorf("entry %d was changed: %w", seq, bad)
	}
	return seen{resource: "entry " + fmt.Sprint(seq), outcome: "found", decision: s.denied, note: bad.Error()}, nil
}

// copyLog copies the files of the log while it is written: partial tiles come and
// go, so that a copy may have to be begun again.
func (s *story) copyLog() (dir string, err error) {
	dir = s.path("copied-log")
	for range 20 {
		if err = os.CopyFS(dir, os.DirFS(s.server.LogDir())); !errors.Is(err, fs.ErrNotExist) {
			return dir, err
		}
		if err := os.RemoveAll(dir); err != nil {
			return dir, err
		}
	}
	return dir, err
}

// secrets are what a stolen data directory must not hold.
func (s *story) secrets() (map[string][]byte, error) {
	model, err := os.ReadFile(filepath.Join(s.files(guarded), weights))
	if err != nil {
		return nil, err
	}
	card, err := os.ReadFile(filepath.Join(s.files(guarded), "README.md"))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(s.path("upstream.key"))
	if err != nil {
		return nil, err
	}
	ana, err := s.who("ana")
	if err != nil {
		return nil, err
	}
	refresh, err := ana.RefreshToken()
	if err != nil {
		return nil, err
	}
	half := len(model) / 2
	return map[string][]byte{
		"weights": model[half : half+64], "card": card[len(card)/2 : len(card)/2+64], "upstream's key": bytes.TrimSpace(key),
		"password": []byte(ana.Password.Reveal()), "authenticator's key": []byte(ana.App.Key), "refresh token": []byte(refresh.Reveal()),
	}, nil
}

func (s *story) plunders(_ context.Context, _ *people.Person) (seen, error) {
	wanted, err := s.secrets()
	if err != nil {
		return seen{}, err
	}
	var files int
	var size int64
	var hits []string
	err = filepath.WalkDir(s.config.Data, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a folder of the running server that came and went
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file of the running server that came and went
		}
		files++
		size += int64(len(raw))
		for name, secret := range wanted {
			if bytes.Contains(raw, secret) {
				hits = append(hits, name+" in "+strings.TrimPrefix(path, s.config.Data))
			}
		}
		return err
	})
	if err != nil {
		return seen{}, err
	}
	if len(hits) > 0 {
		return seen{}, fmt.Errorf("found: %s", strings.Join(hits, "; "))
	}
	if info, err := os.Stat(filepath.Join(s.files(guarded), weights)); err != nil || size < info.Size() {
		return seen{}, fmt.Errorf("the directory holds %d bytes, fewer than the weights: %w", size, err)
	}
	return seen{resource: "data directory", outcome: "nothing", note: fmt.Sprintf("%d secrets looked for in %d files, %s", len(wanted), files, mebibytes(size))}, nil
}

// restarts stops the server and starts it over the same files. Nobody signs in again.
func (s *story) restarts(ctx context.Context, _ *people.Person) (seen, error) {
	took, err := s.restart(ctx)
	if err != nil {
		return seen{}, err
	}
	s.wire.CloseIdleConnections()
	ana, err := s.who("ana")
	if err != nil {
		return seen{}, err
	}
	a, err := s.ask(ctx, hub(ana, open, weights))
	if err != nil {
		return seen{}, err
	}
	pushed, err := sum(filepath.Join(s.files(open), weights))
	if err != nil {
		return seen{}, err
	}
	digest := sha256.Sum256(a.body)
	if hex.EncodeToString(digest[:]) != pushed {
		return seen{}, fmt.Errorf("jetty's weights are not those that were pushed: %d %.200s", a.status, a.body)
	}
	grants, err := ana.Client.Grants(ctx, false)
	if err != nil || len(grants) != 1 {
		return seen{}, fmt.Errorf("ana has %d grants: %w", len(grants), err)
	}
	if _, err := s.decided(ctx, s.denied, ""); err != nil {
		return seen{}, err
	}
	got, err := s.chats(ctx, ana)
	got.note = fmt.Sprintf("ready after %s; %s", took.Round(1e6), got.note)
	return got, err
}
