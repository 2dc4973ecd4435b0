//go:build !windows

package tpmkey

import (
	"io"

	"github.com/google/go-tpm/tpmutil"
)

func openPath(path string) (io.ReadWriteCloser, error) { return tpmutil.OpenTPM(path) }
