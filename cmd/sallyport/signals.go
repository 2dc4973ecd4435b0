package main

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) signals() *cobra.Command {
	return noun(&cobra.Command{Use: "signals", Short: "Events about people, shared with partners (SSF, CAEP)"}, a.signalStreams(), a.signalPartners(), a.signalTest())
}

func (a *app) signalStreams() *cobra.Command {
	return &cobra.Command{
		Use: "streams", Short: "List who hears of our people, and what waits for them", Args: arguments(),
		Example: "  sallyport signals streams --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"STREAM", "RECEIVER", "ORG", "BY", "STATUS", "WAITING", "EVENTS"}, none: "Nobody hears of our people."}
			return rows(cmd.Context(), a, (*client.Client).SignalStreams, t, func(s api.SignalStream) []string {
				by := "poll"
				if strings.HasSuffix(s.Method, "8935") {
					by = s.URL
				}
				return []string{s.ID, string(s.Owner), s.Org, by, s.Status, strconv.Itoa(s.Waiting), list(s.Events)}
			})
		},
	}
}

func (a *app) signalPartners() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the partners whose events are taken", Args: arguments(),
		Example: "  sallyport signals ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"PARTNER", "ISSUER", "IT PUSHES TO", "WE POLL", "A SESSION'S END DOES"}, none: "No partner's events are taken: see \"signals\" in the configuration."}
			return rows(cmd.Context(), a, (*client.Client).SignalPartners, t, func(p api.SignalPartner) []string {
				return []string{p.Name, p.Issuer, p.Push, cmp.Or(p.Poll, "-"), p.Policy["session-revoked"]}
			})
		},
	}
}

func (a *app) signalTest() *cobra.Command {
	return &cobra.Command{
		Use: "test STREAM", Short: "Send a verification event on a stream", Args: arguments("STREAM"),
		Example: "  sallyport signals test 3kq2…",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := c.TestStream(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.answer(struct {
				Stream string `json:"stream"`
			}{args[0]}, func() { a.line("a verification event is on its way") })
		},
	}
}
