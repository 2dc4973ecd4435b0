package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// print writes the report as a table, and below it what each row means.
func (r Report) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d CPUs. Each baseline was measured in the same run, by turns; values are medians, in brackets the lowest and highest round.\n\n", r.Go, r.OS, r.CPUs)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\twhat\tvalue\trounds\ttarget\t\tours\tbaseline")
	for i, x := range r.Rows {
		base := "-"
		if x.Against != "" {
			base = fmt.Sprintf("%s (%s)", quantity(x.Base, x.In), x.Against)
		}
		fmt.Fprintf(t, "%d\t%s: %s\t%s\t[%s, %s]\t%s\t%s\t%s\t%s\n", i+1, x.Group, x.Name, quantity(x.Value, x.Unit), number(x.Low), number(x.High),
			x.Target, verdict(x.Met), quantity(x.Ours, x.In), base)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	b.WriteString("\n")
	for i, x := range r.Rows {
		fmt.Fprintf(&b, "%3d  %s\n", i+1, x.Means)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func verdict(met *bool) string {
	switch {
	case met == nil:
		return ""
	case *met:
		return "met"
	}
	return "MISSED"
}

func quantity(v float64, unit string) string {
	if unit == "×" {
		return number(v) + " ×"
	}
	return number(v) + " " + unit
}

// number writes three significant digits, and never an exponent.
func number(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	s := strconv.FormatFloat(v, 'f', max(0, digits), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
