package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// Main runs a server from its configuration file until ctx ends, and tells on out
// where it is and, at the first start, the one-time enrolment link.
func Main(ctx context.Context, path string, out io.Writer, logger *slog.Logger) error {
	config, err := LoadConfig(path)
	if err != nil {
		return err
	}
	s, err := Start(ctx, config, logger)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "sallyport serves at %s\n", s.External())
	if ca := s.CA(); ca != "" {
		fmt.Fprintf(out, "clients trust this certificate: %s\n", ca)
	}
	fmt.Fprintf(out, "the audit log's key: %s\n", s.LogKey())
	if s.FirstLink != "" {
		fmt.Fprintf(out, "the first administrator (%s) sets up password and code generator here, once, within 15 minutes:\n  %s\n", config.Admin, s.FirstLink)
	}
	<-ctx.Done()
	fmt.Fprintln(out, "stopping")
	return s.Close()
}
