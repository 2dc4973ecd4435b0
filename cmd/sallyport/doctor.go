package main

import (
	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/server"
)

func (a *app) doctor() *cobra.Command {
	return noun(&cobra.Command{Use: "doctor", Short: "Look at how a server is set up"}, a.doctorTLS())
}

func (a *app) doctorTLS() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: "tls", Short: "Check every connection that a configuration makes or takes", Args: arguments(),
		Long: `Connect to the listener and to each upstream that a configuration names: which versions of TLS are spoken, whether the
certificates can be verified, where plaintext is permitted and why. Nothing is sent. A finding is exit code 2.`,
		Example: "  sallyport doctor tls --config sallyport.yaml --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config == "" {
				return usage(cmd, "name the configuration, with --config FILE")
			}
			read, err := server.LoadConfig(config)
			if err != nil {
				return err
			}
			all, err := server.CheckTLS(cmd.Context(), read)
			if err != nil {
				return err
			}
			err = a.answer(all, func() {
				t := table{headings: []string{"LINK", "ADDRESS", "", "FOUND"}}
				for _, l := range all {
					state := "ok"
					if !l.Good {
						state = "finding"
					}
					t.row(l.Link, l.Address, state, l.Found)
				}
				a.table(t)
			})
			for _, l := range all {
				if err == nil && !l.Good {
					err = ended(client.ExitDenied)
				}
			}
			return err
		},
	}
	c.Flags().StringVar(&config, "config", "", "the configuration `FILE`")
	return c
}
