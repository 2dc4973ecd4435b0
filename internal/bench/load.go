package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A target is where requests of one kind go. The client is as thin as it can be (a
// written request, a counted answer), because its own work would count for both
// sides and hide their difference.
type target struct {
	host    string // HOST:PORT
	tls     *tls.Config
	request func(i int) []byte // of the i-th call of one client; whole, with its header
	status  string             // "200", "206"
}

// A caller is one connection with one request at a time.
type caller struct {
	to   target
	conn net.Conn
	in   *bufio.Reader
	sent int
}

// patience is how long one call may take before the run fails.
const patience = 30 * time.Second

func (t target) dial(ctx context.Context) (*caller, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.host)
	if err != nil {
		return nil, err
	}
	if t.tls != nil {
		secured := tls.Client(conn, t.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		conn = secured
	}
	return &caller{to: t, conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}, nil
}

// call sends the next request and returns how long the body of the answer was.
func (c *caller) call() (int64, error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(c.to.request(c.sent)); err != nil {
		return 0, err
	}
	c.sent++
	length, status, err := c.header()
	if err != nil {
		return 0, err
	}
	if status != c.to.status {
		body, _ := io.ReadAll(io.LimitReader(c.in, min(max(length, 0), 500))) // for the message only
		return 0, fmt.Errorf("the answer is %s, not %s: %s", status, c.to.status, body)
	}
	if length < 0 {
		return 0, errors.New("the answer has no length")
	}
	_, err = io.CopyN(io.Discard, c.in, length)
	return length, err
}

// header reads up to the body: its length, -1 when it is not said, and the status.
func (c *caller) header() (length int64, status string, err error) {
	length = -1
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, "", err
		}
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case text == "":
			return length, status, nil
		case first:
			if f := strings.Fields(text); len(f) > 1 {
				status = f[1]
			}
		case len(text) > 15 && strings.EqualFold(text[:15], "content-length:"):
			if length, err = strconv.ParseInt(strings.TrimSpace(text[15:]), 10, 64); err != nil {
				return 0, "", err
			}
		}
	}
}

// clients calls a target from n connections at once for d, again and again.
func clients(to target, n int, d time.Duration) side { return load(to, n, d, false) }

// readers is clients with the rate in bytes.
func readers(to target, n int, d time.Duration) side { return load(to, n, d, true) }

func load(to target, n int, d time.Duration, bytes bool) side {
	return func(ctx context.Context) (sample, error) {
		callers, err := connect(ctx, to, n)
		if err != nil {
			return sample{}, err
		}
		defer func() {
			for _, c := range callers {
				c.conn.Close()
			}
		}()
		times, amounts, errs := make([][]time.Duration, n), make([]int64, n), make([]error, n)
		var running sync.WaitGroup
		begin := time.Now()
		for i, c := range callers {
			running.Go(func() { times[i], amounts[i], errs[i] = c.repeat(ctx, begin.Add(d)) })
		}
		running.Wait()
		elapsed := time.Since(begin)
		s := sampled(slices.Concat(times...), elapsed)
		if bytes {
			var total int64
			for _, a := range amounts {
				total += a
			}
			s.rate = float64(total) / elapsed.Seconds()
		}
		return s, errors.Join(errs...)
	}
}

// connect dials n times and makes one call on each connection, which is not counted.
func connect(ctx context.Context, to target, n int) ([]*caller, error) {
	callers := make([]*caller, 0, n)
	for range n {
		c, err := to.dial(ctx)
		if err == nil {
			callers = append(callers, c)
			_, err = c.call()
		}
		if err != nil {
			for _, c := range callers {
				c.conn.Close()
			}
			return nil, err
		}
	}
	return callers, nil
}

// repeat calls until the time is over, at least once.
func (c *caller) repeat(ctx context.Context, until time.Time) (times []time.Duration, amount int64, err error) {
	for from := time.Now(); len(times) == 0 || from.Before(until); {
		n, err := c.call()
		if err != nil || ctx.Err() != nil {
			return times, amount, errors.Join(err, ctx.Err())
		}
		now := time.Now()
		times, amount, from = append(times, now.Sub(from)), amount+n, now
	}
	return times, amount, nil
}
