package risk

import (
	"compress/gzip"
	"encoding/csv"
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"sallyport"
)

// A row is one line of the log, with its own values: the golden scores were made on them, not on what ReadAgent makes.
type row struct {
	who sallyport.PrincipalID
	at  time.Time
	Login
}

func readCSV(t testing.TB, name string) [][]string {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	if name == "rba-log.csv.gz" {
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		r = csv.NewReader(z)
	}
	all, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[1:]
}

func readLog(t testing.TB) []row {
	var rows []row
	for _, f := range readCSV(t, "rba-log.csv.gz") {
		at, err := time.Parse("2006-01-02 15:04:05.999999999", f[0])
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row{sallyport.PrincipalID("user:u" + f[1]), at, Login{Prefix: f[2], Country: f[3], ASN: f[4], Agent: f[5], Browser: f[6], OS: f[7], Kind: f[8]}})
	}
	return rows
}

// The 300 scores of the reference implementation, to 1e-9. It counted who shares a value over the whole file, rows to
// come included; the product counts what it has seen, so that here these two numbers come from a book of everything.
func TestGoldenScores(t *testing.T) {
	rows := readLog(t)
	whole := NewBook()
	for _, r := range rows {
		whole.Add(r.who, r.at, r.Login, "")
	}
	book, next, worst, unseen := NewBook(), 0, 0.0, 0
	for _, g := range readCSV(t, "rba-golden.csv") {
		at, err1 := strconv.Atoi(g[0])
		history, err2 := strconv.Atoi(g[2])
		want, err3 := strconv.ParseFloat(g[3], 64)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatal(err1, err2, err3)
		}
		for ; next < at; next++ {
			book.Add(rows[next].who, rows[next].at, rows[next].Login, "")
		}
		r := rows[at]
		c := book.Counts(r.who, r.Login)
		if c.Own != history || string(r.who) != "user:u"+g[1] {
			t.Fatalf("row %d: %s with %d sign-ins, want user:u%s with %d", at, r.who, c.Own, g[1], history)
		}
		for i, group := range r.values() {
			s := whole.shared[slot{uint8(i), 0, group[0]}]
			c.Features[i].Rows, c.Features[i].Below = s.rows, len(s.below)+1
			if c.Features[i].Levels[0].All == 0 {
				unseen++
			}
		}
		got, ok := c.Score()
		if !ok {
			t.Fatalf("row %d has no score", at)
		}
		off := math.Abs(got-want) / want
		if worst = max(worst, off); off > 1e-9 {
			t.Errorf("row %d: %g, want %g, off by %g", at, got, want, off)
		}
	}
	if unseen == 0 {
		t.Error("no row has a value that was never seen before: the edge is not covered")
	}
	t.Logf("300 scores, the worst off by %.1g, %d values never seen before", worst, unseen)
}

// What the product counts, past rows and the attempt, stays within half a per cent of the reference.
func TestScoresWithoutTheFuture(t *testing.T) {
	rows, book, next := readLog(t), NewBook(), 0
	for _, g := range readCSV(t, "rba-golden.csv") {
		at, _ := strconv.Atoi(g[0])
		want, _ := strconv.ParseFloat(g[3], 64)
		for ; next < at; next++ {
			book.Add(rows[next].who, rows[next].at, rows[next].Login, "")
		}
		c := book.Counts(rows[at].who, rows[at].Login)
		if got, _ := c.Score(); math.Abs(got-want)/want > 0.005 {
			t.Errorf("row %d: %g, the reference has %g", at, got, want)
		}
	}
}

func TestNoScoreWithoutHistory(t *testing.T) {
	b := NewBook()
	c := b.Counts("user:ana", Login{})
	if _, ok := c.Score(); ok {
		t.Error("an empty book has a score")
	}
	b.Add("user:bo", time.Time{}, Login{Prefix: "p"}, "")
	c = b.Counts("user:ana", Login{Prefix: "p"})
	if _, ok := c.Score(); ok {
		t.Error("somebody without a sign-in has a score")
	}
	for _, bad := range []Counts{{Own: 2, Logins: 1, Users: 1}, {Own: 1, Logins: 1}} {
		if _, ok := bad.Score(); ok {
			t.Errorf("%+v has a score", bad)
		}
	}
}

func BenchmarkScore(b *testing.B) {
	rows, book := readLog(b), NewBook()
	for _, r := range rows {
		book.Add(r.who, r.at, r.Login, "")
	}
	b.ResetTimer()
	for i := range b.N {
		r := &rows[i%len(rows)]
		c := book.Counts(r.who, r.Login)
		if _, ok := c.Score(); !ok {
			b.Fatal("no score")
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	rows, book := readLog(b), NewBook()
	for _, r := range rows {
		book.Add(r.who, r.at, r.Login, "")
	}
	b.ResetTimer()
	for i := range b.N {
		r := &rows[i%len(rows)]
		book.Judge(Attempt{Who: r.who, At: r.at, Login: r.Login})
	}
}
