package change

import (
	"context"
	"sync"
	"sync/atomic"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// maxWarm is how many compiled sets are kept beside the one in force: those that were proposed or looked at last.
const maxWarm = 2

// engines are sets that were compiled here a moment ago. Putting one in force is then the exchange of a pointer: a large set
// takes seconds to compile, and it is compiled while its approvers read it.
type engines struct {
	mu     sync.Mutex
	newest []policy.Engine
	seen   string // the newest proposal that was looked at

	turns   sync.Mutex
	waiting atomic.Int32 // for their turn, and whose turn it is
}

// maxWaiting is how many sets that are not in force wait to be compiled.
const maxWaiting = 8

// Examine compiles a set that is only proposed or looked at, and asks of it what is to be known. That is done for one at a
// time, so that nobody who decides waits for more than one processor, whatever is proposed. Busy where too many wait.
func (s *Service) Examine(src policy.Source, of func(policy.Engine) error) error {
	return s.warm.turn(func() error {
		e, err := s.engine(src)
		if err != nil {
			return err
		}
		return of(e)
	})
}

func (w *engines) turn(work func() error) error {
	defer w.waiting.Add(-1)
	if w.waiting.Add(1) > maxWaiting {
		return sallyport.E("compile policy", sallyport.Busy, "other sets are being compiled", "try again in a moment")
	}
	w.turns.Lock()
	defer w.turns.Unlock()
	return work()
}

func (w *engines) get(version string) policy.Engine {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.newest {
		if e.Version() == version {
			return e
		}
	}
	return nil
}

func (w *engines) put(e policy.Engine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newest = append([]policy.Engine{e}, w.newest...)
	w.newest = w.newest[:min(len(w.newest), maxWarm)]
}

// first reports whether a proposal is looked at for the first time.
func (w *engines) first(request string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.seen
	w.seen = request
	return was != request
}

// engine compiles a set, or returns what was compiled of the same text: its version is the hash of all of it.
func (s *Service) engine(src policy.Source) (policy.Engine, error) {
	if e := s.warm.get(src.Version()); e != nil {
		return e, nil
	}
	e, err := s.Compile(src)
	if err == nil {
		s.warm.put(e)
	}
	return e, err
}

// prewarm compiles the newest proposal, which another node may have taken, before somebody puts it in force. What cannot be
// read or compiled is not put in force either, and is told then.
func (s *Service) prewarm(ctx context.Context) {
	newest, err := s.Proposals.List(ctx, 1)
	if err != nil || len(newest) == 0 || !s.warm.first(newest[0].Request) {
		return
	}
	if p, err := s.Proposals.Get(ctx, newest[0].Request); err == nil && p.Base == s.InForce().Version {
		_, _ = s.engine(p.Source)
	}
}
