package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/demo/people"
	"sallyport/internal/web/api"
)

// askFor asks for harbour's weights, for a time.
func (s *story) askFor(ctx context.Context, p *people.Person, r *api.Request, duration, why string) (seen, error) {
	var err error
	*r, err = p.Client.Ask(ctx, api.Ask{Action: sallyport.ModelPull, Resource: guarded, For: duration, Why: why})
	if err != nil {
		return seen{}, err
	}
	return s.latest(ctx, p, sallyport.GrantRequest, r.ID+" for "+r.For)
}

func (s *story) asks(ctx context.Context, ana *people.Person) (seen, error) {
	return s.askFor(ctx, ana, &s.request, "1h", "move harbour to the lab")
}

func (s *story) reviewerAsks(ctx context.Context, rita *people.Person) (seen, error) {
	return s.askFor(ctx, rita, &s.second, "1h", "curious")
}

func (s *story) asksShort(ctx context.Context, eva *people.Person) (seen, error) {
	return s.askFor(ctx, eva, &s.short, "2s", "a quick look")
}

func (s *story) approvesOwn(ctx context.Context, ana *people.Person) (seen, error) {
	_, err := ana.Client.Vote(ctx, s.request, true, "I know what I am doing")
	e, err := refusal(err)
	if err != nil {
		return seen{}, err
	}
	return s.decided(ctx, e.Decision, "")
}

func (s *story) aliasApproves(ctx context.Context, alias *people.Person) (seen, error) {
	_, err := alias.Client.Vote(ctx, s.second, true, "she is fine")
	e, err := refusal(err)
	if err == nil && e.Status != http.StatusConflict {
		err = errors.New(e.Message)
	}
	if err != nil {
		return seen{}, err
	}
	got, err := s.latest(ctx, alias, sallyport.GrantApprove, e.Message)
	got.outcome, got.reason = "refused", "same person"
	return got, err
}

// approve finds a request in the inbox and approves it.
func (s *story) approve(ctx context.Context, p *people.Person, r *api.Request) (seen, error) {
	inbox, err := p.Client.Inbox(ctx)
	if err != nil {
		return seen{}, err
	}
	for _, waiting := range inbox {
		if waiting.ID != r.ID {
			continue
		}
		if *r, err = p.Client.Vote(ctx, waiting, true, "agreed"); err != nil {
			return seen{}, err
		}
		if r.Grant == nil {
			return seen{}, fmt.Errorf("request %s is %s, without a grant", r.ID, r.State)
		}
		return s.latest(ctx, p, sallyport.GrantApprove, "grant "+r.Grant.ID+" until "+r.Grant.Until.Format(time.TimeOnly))
	}
	return seen{}, fmt.Errorf("request %s is not among the %d of his inbox", r.ID, len(inbox))
}

func (s *story) approves(ctx context.Context, ravi *people.Person) (seen, error) {
	return s.approve(ctx, ravi, &s.request)
}

func (s *story) approvesShort(ctx context.Context, ravi *people.Person) (seen, error) {
	return s.approve(ctx, ravi, &s.short)
}

// wantsPasskey must be told what is missing, in a form that programs understand (RFC 9470).
func (s *story) wantsPasskey(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, hub(ana, guarded, weights))
	if err != nil {
		return seen{}, err
	}
	if said := strings.Join(a.header.Values("WWW-Authenticate"), ", "); !strings.Contains(said, `acr_values="phr"`) {
		return seen{}, fmt.Errorf("the client is not told what is wanted: %d %q", a.status, said)
	}
	return s.answered(ctx, a, a.status, a.header.Get("X-Error-Message"))
}

// provesByPasskey does what the step-up said: 'sallyport login --assurance phr', and a passkey in the browser.
func (s *story) provesByPasskey(ctx context.Context, p *people.Person) (seen, error) {
	if err := p.Login(ctx, sallyport.PhishingResistant); err != nil {
		return seen{}, err
	}
	me, err := p.Client.Who(ctx)
	if err == nil && me.Assurance != sallyport.PhishingResistant.String() {
		err = fmt.Errorf("she is at %s", me.Assurance)
	}
	return seen{outcome: "raised", note: "every decision says " + me.Assurance + " from here on"}, err
}

// pulls compares what arrives with the files that were pushed.
func (s *story) pulls(ctx context.Context, ana *people.Person) (seen, error) {
	began, to := time.Now(), s.path("pulled")
	m, err := ana.Client.Pull(ctx, guarded, to, client.PullOptions{Progress: func(at client.Progress) {
		s.out.progress("     pull %s: %s of %s", at.File, mebibytes(at.Done), mebibytes(at.Total))
	}})
	if err != nil {
		return seen{}, err
	}
	for _, f := range m.Files {
		pushed, err := sum(filepath.Join(s.files(guarded), f.Path))
		if err != nil {
			return seen{}, err
		}
		pulled, err := sum(filepath.Join(to, f.Path))
		if err != nil {
			return seen{}, err
		}
		if pushed != pulled {
			return seen{}, fmt.Errorf("%s was pushed as %s and pulled as %s", f.Path, pushed, pulled)
		}
	}
	whole, err := sum(filepath.Join(to, weights))
	if err != nil {
		return seen{}, err
	}
	got, err := s.latest(ctx, ana, sallyport.ModelPull, fmt.Sprintf("proved at phr; %d files, %s in %.1fs, sha256:%.12s as pushed", len(m.Files), mebibytes(m.Size()), time.Since(began).Seconds(), whole))
	if err == nil && sallyport.Assurance(got.asked.Assurance) != sallyport.PhishingResistant {
		err = fmt.Errorf("the decision says that she was at %v", sallyport.Assurance(got.asked.Assurance))
	}
	return got, err
}

// sum is the SHA-256 of a file.
func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

func (s *story) ranged(ctx context.Context, ana *people.Person) (seen, error) {
	file, err := os.ReadFile(filepath.Join(s.files(guarded), weights))
	if err != nil {
		return seen{}, err
	}
	from := len(file) / 2
	until := from + 100_000
	c := hub(ana, guarded, weights)
	c.ranged = fmt.Sprintf("bytes=%d-%d", from, until-1)
	a, err := s.ask(ctx, c)
	if err != nil {
		return seen{}, err
	}
	if a.status == http.StatusPartialContent && !bytes.Equal(a.body, file[from:until]) {
		return seen{}, errors.New("the bytes of the range are not those of the file")
	}
	return s.answered(ctx, a, http.StatusPartialContent, a.header.Get("Content-Range"))
}

// expires downloads under a grant that is shorter than the download.
func (s *story) expires(ctx context.Context, eva *people.Person) (seen, error) {
	t, err := s.begin(ctx, hub(eva, guarded, weights), 1)
	if err != nil {
		return seen{}, err
	}
	if err := t.wait(ctx); err != nil {
		return seen{}, err
	}
	got, err := s.decided(ctx, t.decision, "")
	if err != nil {
		return seen{}, err
	}
	got.outcome = "ended"
	switch {
	case t.status == http.StatusForbidden: // the grant ended before the download began
		got.note = "refused: the grant had ended already"
	case t.err == nil || t.got.Load() >= t.total:
		return seen{}, fmt.Errorf("all %d bytes arrived", t.got.Load())
	default:
		got.note = fmt.Sprintf("cut after %s of %s", mebibytes(t.got.Load()), mebibytes(t.total))
	}
	return got, nil
}
