package server

import (
	"context"
	"errors"
	"net"
	"net/http"

	"sallyport/internal/enforce/guard"
	"sallyport/internal/plumbing/httpsafe"
)

// openSocket takes the address first: with port 0 it says what the external URL is.
func (s *Server) openSocket(ctx context.Context) error {
	var err error
	if s.socket, err = new(net.ListenConfig).Listen(ctx, "tcp", s.config.Listen); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error {
		if err := s.socket.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	s.config, err = s.config.at(s.socket.Addr().String())
	return err
}

// serve begins to answer.
func (s *Server) serve(h http.Handler) error {
	config, err := s.tls()
	if err != nil {
		return err
	}
	s.http = httpsafe.Server(h, config, s.logger)
	s.http.Handler = &certificates{server: s, next: httpsafe.Recorded(h, s.odd), proxies: s.config.Devices.Proxies, logger: s.logger}
	s.running.Go(func() {
		var err error
		if config == nil {
			err = s.http.Serve(s.socket)
		} else {
			err = s.http.ServeTLS(s.socket, "", "")
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("the listener ended", "err", err)
		}
	})
	return nil
}

// odd records a request that no door has seen, because it can be read in more
// than one way.
func (s *Server) odd(r *http.Request) error {
	_, err := s.guard.Unmapped(r.Context(), guard.Call{Door: "none", IP: httpsafe.PeerIP(r)}, r.Method, r.URL.EscapedPath())
	return err
}
