package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport"
)

func (a *app) devicePEM() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "pem", Short: "Write this computer's certificate and key to a file, for programs that want one", Args: arguments(),
		Long: `Write the certificate and its key to a file that only you can read, for programs that show a certificate of their own, such as
MLflow (MLFLOW_TRACKING_CLIENT_CERT_PATH). It works for a key in software only: a key in a TPM cannot leave it. Whoever has
the file is this device until the certificate ends, within a day, or until 'sallyport device rm'; write it anew after each
renewal. Where 'sallyport run' will do, prefer that: it leaves no such file.`,
		Example: "  sallyport device pem --out ~/.sallyport-device.pem",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage(cmd, "name the file to write, with --out FILE")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if a.computer == nil {
				return sallyport.E("export device", sallyport.NotFound, "this computer is not enrolled at "+c.Server(), "enrol it with 'sallyport device enroll --software'")
			}
			a.renewed(cmd.Context(), c)
			text, err := a.computer.PEM()
			if err != nil {
				return err
			}
			if err := replace(out, text.Reveal()); err != nil {
				return sallyport.Wrap("export device", sallyport.Unavailable, out, err)
			}
			ends := a.computer.Expires()
			said := struct {
				File    string `json:"file"`
				Device  string `json:"device"`
				Expires string `json:"expires"`
			}{out, a.computer.ID(), ends.UTC().Format("2006-01-02T15:04:05Z")}
			return a.answer(said, func() {
				a.line("%s: certificate and key of %s, until %s", out, a.computer.ID(), a.when(ends))
				a.note("who has this file is this device: keep it to yourself, and remove it when it is not used any more")
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "the `FILE` to write")
	return c
}

// replace writes a file that only its owner can read, as a whole or not at all, whatever was there and whoever could read that.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".sallyport-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already after the rename
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
