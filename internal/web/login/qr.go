package login

import (
	"fmt"
	"image/color"
	"strings"

	"github.com/boombuler/barcode/qr"
)

const quiet = 4 // modules of white around a QR code, ISO/IEC 18004 section 9.1

// A code is a QR code as the path of an SVG drawing, one unit a module.
type code struct {
	Size int
	Path string
}

// encodeQR draws text, one rectangle for each run of dark modules in a row.
func encodeQR(text string) (code, error) {
	img, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return code{}, fmt.Errorf("draw QR code: %w", err)
	}
	side := img.Bounds().Dx()
	dark := func(x, y int) bool { return x < side && img.At(x, y) == color.Black }
	var path strings.Builder
	for y := range side {
		for x := 0; x < side; x++ {
			run := 0
			for dark(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, run, run)
				x += run
			}
		}
	}
	return code{Size: side + 2*quiet, Path: path.String()}, nil
}
