// Command digest reads the output of `go test -json` and prints what a reader wants of it: the output of failed tests,
// the skipped ones with their reasons, and a closing line "N passed, N failed, N skipped". Subtests are counted with their parents.
//
// It ends with 1 when a test or a package failed, or, with CI=true, when a test was skipped that .ci/skips.txt does not allow.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// event is one line of `go test -json`.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// result is what became of one test, or of a whole package when the test's name is empty.
type result struct {
	pkg, test, action string
	elapsed           float64
	output            strings.Builder
}

func main() {
	counts := flag.String("counts", "", "file to append the counts to, for a sum over several runs")
	skips := flag.String("skips", ".ci/skips.txt", "the list of allowed skips")
	flag.Parse()
	if err := run(flag.Args(), *counts, *skips); err != nil {
		fmt.Fprintln(os.Stderr, "digest:", err)
		os.Exit(1)
	}
}

func run(inputs []string, counts, skips string) error {
	allowed, err := readSkips(skips)
	if err != nil {
		return err
	}
	results := map[string]*result{}
	for _, input := range inputs {
		file, err := os.Open(input)
		if err != nil {
			return err
		}
		err = collect(file, results)
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", input, err)
		}
	}
	return summarise(os.Stdout, results, allowed, counts)
}

// collect gathers events by package and test. Lines that are no JSON are printed as they are: a broken build says so in plain text.
func collect(r io.Reader, results map[string]*result) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			note(line, results)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func note(line []byte, results map[string]*result) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		os.Stdout.Write(line)
		return
	}
	if e.Package == "" {
		e.Package = e.ImportPath // build events
	}
	key := e.Package + " " + e.Test
	if results[key] == nil {
		results[key] = &result{pkg: e.Package, test: e.Test}
	}
	switch e.Action {
	case "output", "build-output":
		results[key].output.WriteString(e.Output)
	case "pass", "fail", "skip", "build-fail":
		results[key].action, results[key].elapsed = e.Action, e.Elapsed
	}
}

// summarise prints failures, skips and the counts, and says whether the run was good.
func summarise(w io.Writer, all map[string]*result, allowed []skip, counts string) error {
	sorted := make([]*result, 0, len(all))
	for _, r := range all {
		sorted = append(sorted, r)
	}
	slices.SortFunc(sorted, func(a, b *result) int { return strings.Compare(a.pkg+" "+a.test, b.pkg+" "+b.test) })

	var passed, failed, skipped, forbidden, packages int
	for _, r := range sorted {
		top := !strings.Contains(r.test, "/")
		switch {
		case r.test == "" && (r.action == "pass" || r.action == "skip"): // skip: a package without tests
		case r.test == "" && (r.action == "fail" || r.action == "build-fail"):
			packages++
			fmt.Fprintf(w, "FAILED package %s\n%s", r.pkg, r.output.String())
		case r.action == "fail", r.action == "" && r.test != "": // without an end: the program died in it
			if top {
				failed++
			}
			fmt.Fprintf(w, "FAILED %s %s\n%s", r.pkg, r.test, r.output.String())
		case r.action == "pass" && top:
			passed++
		case r.action == "skip":
			if top {
				skipped++
			}
			why, ok := allows(allowed, r)
			if !ok {
				forbidden++
			}
			fmt.Fprintf(w, "  skipped %s %s: %s%s\n", r.pkg, r.test, reason(r.output.String()), why)
		}
	}
	slowest(w, sorted)
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if err := appendCounts(counts, passed, failed, skipped); err != nil {
		return err
	}
	switch {
	case failed > 0 || packages > 0:
		return fmt.Errorf("%d tests and %d packages failed", failed, packages)
	case passed == 0:
		return errors.New("no test ran")
	case forbidden > 0 && os.Getenv("CI") == "true":
		return fmt.Errorf("%d skips that .ci/skips.txt does not allow", forbidden)
	}
	return nil
}

// slowest names the packages that took longest, so that a slow suite is seen before it hurts.
func slowest(w io.Writer, sorted []*result) {
	packages := slices.DeleteFunc(slices.Clone(sorted), func(r *result) bool { return r.test != "" || r.elapsed < 5 })
	slices.SortStableFunc(packages, func(a, b *result) int { return int(10 * (b.elapsed - a.elapsed)) })
	for _, r := range packages[:min(8, len(packages))] {
		fmt.Fprintf(w, "  %6.1f s %s\n", r.elapsed, r.pkg)
	}
}

// reason is what the test said when it skipped itself.
func reason(output string) string {
	for line := range strings.SplitSeq(output, "\n") {
		if _, said, found := strings.Cut(line, ".go:"); found {
			_, said, _ = strings.Cut(said, ": ")
			return said
		}
	}
	return "no reason given"
}

// skip is one line of the list of allowed skips: package, test, reason. Package and test are patterns of path.Match.
type skip struct{ pkg, test, why string }

func readSkips(name string) ([]skip, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var all []skip
	for number, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) < 4 {
			return nil, fmt.Errorf("%s:%d: want a package, a test and a reason", name, number+1)
		}
		all = append(all, skip{words[0], words[1], strings.Join(words[2:], " ")})
	}
	return all, nil
}

// allows tells whether the list has a line for a skipped test, and what it says.
func allows(allowed []skip, r *result) (why string, ok bool) {
	for _, line := range allowed {
		top, _, _ := strings.Cut(r.test, "/")
		inPkg, _ := path.Match(line.pkg, r.pkg)
		whole, _ := path.Match(line.test, r.test)
		parent, _ := path.Match(line.test, top)
		if inPkg && (whole || parent) {
			return " [allowed: " + line.why + "]", true
		}
	}
	return "", false
}

// appendCounts adds a line of three numbers to a file, for a sum over several runs; without a name it does nothing.
func appendCounts(name string, passed, failed, skipped int) error {
	if name == "" {
		return nil
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, passed, failed, skipped)
	return errors.Join(err, file.Close())
}
