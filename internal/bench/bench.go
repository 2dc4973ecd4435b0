// Package bench owns measuring the system on the machine it runs on: ratios of
// Sallyport to the bare thing it stands in front of, both measured by turns in the
// same run, because absolute figures of a shared machine say nothing.
//
// It leaves choosing what to measure to its caller, and the system itself to
// internal/server, which it starts as any operator would and reaches as a client.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// Options say what to measure and where.
type Options struct {
	Quick bool      // tiny durations and sizes: shows that everything runs, measures nothing worth keeping
	Only  []string  // groups, of Groups; empty: all
	JSON  bool      // the report as one JSON object instead of a table
	Out   io.Writer // where the report goes; nil: nowhere
	Dir   string    // where to work, on the disk to measure; "": a new directory among the temporary files
	// Serve is a program with arguments that serves a configuration, whose path
	// comes last, until it is interrupted. nil: start and memory are measured in
	// this process.
	Serve []string
	// CPUProfile and MemProfile are files for profiles of the whole run, for 'go
	// tool pprof'. "": none.
	CPUProfile, MemProfile string
}

// Groups are the groups of rows, in the order of the report.
func Groups() []string {
	names := make([]string, len(groups()))
	for i, g := range groups() {
		names[i] = g.name
	}
	return names
}

type group struct {
	name    string
	measure func(*run, context.Context) error
}

func groups() []group {
	return []group{
		{"decision", (*run).decision},
		{"identity", (*run).identity},
		{"chain", (*run).chain},
		{"sealed", (*run).sealed},
		{"records", (*run).records},
		{"disk", (*run).disk},
		{"start", (*run).start},
		{"revoke", (*run).revoke},
		{"swap", (*run).swap},
	}
}

// A Report is what a run measured.
type Report struct {
	Go   string `json:"go"`
	OS   string `json:"os"`
	CPUs int    `json:"cpus"`
	Rows []Row  `json:"rows"`
}

// Missed returns the rows whose target was not met.
func (r Report) Missed() []Row {
	return slices.DeleteFunc(slices.Clone(r.Rows), func(x Row) bool { return x.Met == nil || *x.Met })
}

// A Row is one comparison, or one plain figure where there is nothing to compare.
type Row struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	// Value is what counts, in Unit: the median over the rounds, with the lowest
	// and the highest round beside it.
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Unit  string  `json:"unit"` // "×" is a ratio
	// Ours and Base are the medians of the two sides, in In; no Against, no Base.
	Ours    float64 `json:"ours"`
	Base    float64 `json:"base,omitempty"`
	In      string  `json:"in"`
	Against string  `json:"against,omitempty"` // what the baseline is
	Target  string  `json:"target,omitempty"`  // "≤ 1.5", "≥ 0.6", "" = none
	Met     *bool   `json:"met,omitempty"`     // nil without a target
	Means   string  `json:"means"`             // one sentence
}

// run is one call of Run.
type run struct {
	o    Options
	size size
	dir  string
	rows []Row
}

// Run measures and writes the report to o.Out. A target that was missed is no
// error: it stands in the report. One Run at a time in a process.
func Run(ctx context.Context, o Options) (report Report, err error) {
	for _, name := range o.Only {
		if !slices.Contains(Groups(), name) {
			return Report{}, sallyport.E("bench", sallyport.Invalid, fmt.Sprintf("no group is called %q", name), "choose from "+strings.Join(Groups(), ", "))
		}
	}
	dir, remove, err := workDir(o.Dir)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	r := &run{o: o, size: fullSize(), dir: dir}
	if o.Quick {
		r.size = quickSize()
	}
	if err := r.profiled(ctx); err != nil {
		return Report{}, err
	}
	report = Report{Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Rows: r.rows}
	if o.Out == nil {
		return report, nil
	}
	if o.JSON {
		out := json.NewEncoder(o.Out)
		out.SetIndent("", "  ")
		return report, out.Encode(report)
	}
	return report, report.print(o.Out)
}

// workDir makes a directory to work in below parent, and returns how to remove it.
func workDir(parent string) (string, func() error, error) {
	if parent != "" {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return "", nil, err
		}
	}
	dir, err := os.MkdirTemp(parent, "sallyport-bench-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

// profiled measures every chosen group, under the profilers that are asked for.
func (r *run) profiled(ctx context.Context) (err error) {
	if r.o.CPUProfile != "" {
		f, cerr := os.Create(r.o.CPUProfile)
		if cerr != nil {
			return cerr
		}
		if cerr := pprof.StartCPUProfile(f); cerr != nil {
			return errors.Join(cerr, f.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, f.Close())
		}()
	}
	for _, g := range groups() {
		if len(r.o.Only) > 0 && !slices.Contains(r.o.Only, g.name) {
			continue
		}
		if err := g.measure(r, ctx); err != nil {
			return fmt.Errorf("bench %s: %w", g.name, err)
		}
	}
	if r.o.MemProfile == "" {
		return nil
	}
	f, err := os.Create(r.o.MemProfile)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

// sub makes a directory of its own for one measurement.
func (r *run) sub(name string) (string, error) {
	dir := filepath.Join(r.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// size is how long and how much is measured.
type size struct {
	rounds    int           // of each comparison
	round     time.Duration // of one side
	decisions int           // in a round
	policies  []int         // of each set, the smallest first
	entities  int           // under every decision; at least 1,000
	clients   []int         // of the chain
	recorders []int         // of the trail
	file      int64         // bytes of the sealed file
	calls     int           // for bytes on disk
	starts    int
	orders    int           // that revoke
	idle      time.Duration // before the memory is read
}

func fullSize() size {
	return size{rounds: 7, round: 800 * time.Millisecond, decisions: 4_000, policies: []int{10, 100, 1_000, 10_000}, entities: 10_000, clients: []int{1, 16, 64},
		recorders: []int{1, 16, 256}, file: 64 << 20, calls: 20_000, starts: 7, orders: 200, idle: 2 * time.Second}
}

func quickSize() size {
	return size{rounds: 1, round: 20 * time.Millisecond, decisions: 50, policies: []int{10, 20, 50, 1_100}, entities: 1_000, clients: []int{1, 16, 64},
		recorders: []int{1, 16, 256}, file: 1 << 20, calls: 100, starts: 1, orders: 3, idle: 50 * time.Millisecond}
}
