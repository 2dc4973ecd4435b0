package facts

import (
	"slices"
	"testing"
	"time"

	"sallyport"
)

// TestCalendar: by the clock on the wall, on both sides of a change of the clocks, on
// weekdays that are no holidays.
func TestCalendar(t *testing.T) {
	c, err := ParseCalendar(Hours{Zone: "Europe/Vienna", Days: []string{"mon", "tue", "wed", "thu", "fri"}, Hours: "08:00-18:00", Holidays: []string{"2026-10-26"}})
	if err != nil {
		t.Fatal(err)
	}
	night, err := ParseCalendar(Hours{Zone: "UTC", Days: []string{"sun"}, Hours: "00:00-24:00"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		c    Calendar
		at   string
		want bool
	}{
		{c, "2026-03-27T07:00:00Z", true}, {c, "2026-03-27T06:59:59Z", false}, // Friday, in winter
		{c, "2026-03-30T06:00:00Z", true}, {c, "2026-03-30T16:00:00Z", false}, // Monday, in summer
		{c, "2026-03-28T10:00:00Z", false}, // Saturday
		{c, "2026-10-26T10:00:00Z", false}, // a holiday
		{c, "2026-10-25T23:30:00Z", false}, // already Monday there, at night
		{night, "2026-03-29T23:59:59Z", true}, {night, "2026-03-30T00:00:00Z", false},
		{Calendar{}, "2026-03-27T10:00:00Z", false}, // nobody said when work is
	} {
		at, err := time.Parse(time.RFC3339, test.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := test.c.Working(at); got != test.want {
			t.Errorf("%s: %v", test.at, got)
		}
	}
}

func TestCalendarRefuses(t *testing.T) {
	good := func() Hours { return Hours{Zone: "UTC", Days: []string{"mon"}, Hours: "08:00-18:00"} }
	if c, err := ParseCalendar(Hours{}); err != nil || c.Known() {
		t.Errorf("no calendar: %v", err)
	}
	for name, change := range map[string]func(*Hours){
		"no zone": func(h *Hours) { h.Zone = "" }, "the machine's zone": func(h *Hours) { h.Zone = "Local" }, "another world": func(h *Hours) { h.Zone = "Mars/Olympus" },
		"a path": func(h *Hours) { h.Zone = "../etc/passwd" }, "no day": func(h *Hours) { h.Days = nil }, "a day twice": func(h *Hours) { h.Days = []string{"mon", "mon"} },
		"no weekday": func(h *Hours) { h.Days = []string{"Monday"} }, "no hours": func(h *Hours) { h.Hours = "" }, "over midnight": func(h *Hours) { h.Hours = "18:00-08:00" },
		"no span": func(h *Hours) { h.Hours = "08:00-08:00" }, "a short hour": func(h *Hours) { h.Hours = "8:00-18:00" }, "25 hours": func(h *Hours) { h.Hours = "08:00-25:00" },
		"no date": func(h *Hours) { h.Holidays = []string{"25.12.2026"} }, "many": func(h *Hours) { h.Holidays = make([]string, 1001) },
	} {
		h := good()
		change(&h)
		if _, err := ParseCalendar(h); err == nil || sallyport.KindOf(err) != sallyport.Invalid && sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTurns: the turns of a calendar are where looking at every quarter of an hour finds them, also where clocks are put forward or
// back, at night, at midnight or by half an hour.
func TestTurns(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, zone := range []string{"UTC", "Europe/Vienna", "America/Havana", "Australia/Lord_Howe", "America/New_York", "Pacific/Apia"} {
		for _, hours := range []string{"08:00-18:00", "00:00-24:00", "00:30-02:15", "01:45-23:45"} {
			for _, days := range [][]string{{"mon", "tue", "wed", "thu", "fri"}, {"sun"}, {"sat", "sun"}, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}} {
				c, err := ParseCalendar(Hours{Zone: zone, Days: days, Hours: hours, Holidays: []string{"2026-03-31", "2026-10-26"}})
				if err != nil {
					t.Fatal(err)
				}
				for _, begin := range []time.Time{from.AddDate(0, 2, 5), from.AddDate(0, 9, 3), from.AddDate(0, 6, 0).Add(15 * time.Hour)} {
					end := begin.AddDate(0, 0, 31)
					var want []time.Time
					for at := begin.Add(15 * time.Minute); !at.After(end); at = at.Add(15 * time.Minute) {
						if c.Working(at) != c.Working(at.Add(-15*time.Minute)) {
							want = append(want, at)
						}
					}
					if got := c.Turns(begin, end); !slices.EqualFunc(got, want, time.Time.Equal) {
						t.Fatalf("%s, %s on %v from %s:\n%v, want\n%v", zone, hours, days, begin, got, want)
					}
				}
			}
		}
	}
	if got := (Calendar{}).Turns(from, from.AddDate(1, 0, 0)); len(got) != 0 {
		t.Errorf("without hours: %v", got)
	}
	daily, err := ParseCalendar(Hours{Zone: "UTC", Days: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}, Hours: "08:00-18:00"})
	if err != nil {
		t.Fatal(err)
	}
	if got := daily.Turns(from, from.AddDate(900, 0, 0)); len(got) == 0 || len(got) > 100 {
		t.Errorf("for ages it looks at %d turns", len(got))
	}
}
