package facts

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// A Calendar says when the organisation works. Nobody works by the zero value: where no
// hours are known no moment is within them, and what a policy reserves for working hours
// stays shut. A Calendar never changes.
type Calendar struct {
	zone     *time.Location
	days     [7]bool
	from, to int // minutes of the day; to is exclusive
	holidays map[string]bool
}

// Hours are a Calendar as text.
type Hours struct {
	Zone     string   `yaml:"zone"`     // of the IANA database: "Europe/Vienna", or "UTC"
	Days     []string `yaml:"days"`     // "mon" to "sun"
	Hours    string   `yaml:"hours"`    // "08:00-18:00", the end exclusive; "00:00-24:00" is the whole day
	Holidays []string `yaml:"holidays"` // "2026-12-25"
}

// maxHolidays bounds a calendar.
const maxHolidays = 1_000

// ParseCalendar reads hours; the zero Hours are the zero Calendar. What is given must be
// whole: a zone, at least one day, and hours of which the first is before the last.
func ParseCalendar(h Hours) (Calendar, error) {
	const op = "calendar"
	if h.Zone == "" && len(h.Days) == 0 && h.Hours == "" && len(h.Holidays) == 0 {
		return Calendar{}, nil
	}
	c := Calendar{holidays: make(map[string]bool, len(h.Holidays))}
	var err error
	if c.zone, err = time.LoadLocation(h.Zone); err != nil || h.Zone == "" || h.Zone == "Local" {
		return Calendar{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the time zone %.60q is not known here", h.Zone), "write one of the IANA database, such as Europe/Vienna; it may have to be installed (tzdata)")
	}
	names := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	for _, d := range h.Days {
		i := slices.Index(names, d)
		if i < 0 || c.days[i] {
			return Calendar{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.20q is no weekday, or stands twice", d), "write mon, tue, wed, thu, fri, sat, sun")
		}
		c.days[i] = true
	}
	first, last, ok := strings.Cut(h.Hours, "-")
	from, ok1 := minutes(first)
	to, ok2 := minutes(last)
	if !ok || !ok1 || !ok2 || from >= to || len(h.Days) == 0 {
		return Calendar{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the hours %.20q on %d days are no working hours", h.Hours, len(h.Days)), "write days, and hours such as 08:00-18:00")
	}
	c.from, c.to = from, to
	if len(h.Holidays) > maxHolidays {
		return Calendar{}, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%d holidays", len(h.Holidays)), fmt.Sprintf("keep %d", maxHolidays))
	}
	for _, d := range h.Holidays {
		if _, err := time.Parse(time.DateOnly, d); err != nil {
			return Calendar{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.20q is no day", d), "write 2026-12-25")
		}
		c.holidays[d] = true
	}
	return c, nil
}

// minutes reads "08:30" as minutes of the day; 24:00 is the end of it.
func minutes(s string) (int, bool) {
	if s == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == 5
}

// Known reports whether the calendar has hours at all.
func (c Calendar) Known() bool { return c.zone != nil }

// Turns returns the instants after from, and not after to, at which working hours begin or end, in order. It looks at no
// more than 40 days.
func (c Calendar) Turns(from, to time.Time) []time.Time {
	if c.zone == nil {
		return nil
	}
	const most = 40
	if last := from.AddDate(0, 0, most); to.After(last) {
		to = last
	}
	var maybe []time.Time
	y, m, d := from.In(c.zone).Date()
	for day := -1; day <= most+1; day++ { // where clocks are put forward or back an hour may come twice, or never
		midnight := time.Date(y, m, d+day, 0, 0, 0, 0, c.zone)
		if midnight.After(to.Add(2 * time.Hour)) {
			break
		}
		_, change := midnight.ZoneBounds()
		maybe = append(maybe, midnight, change)
		for _, minute := range []int{c.from, c.to} {
			at := time.Date(y, m, d+day, 0, minute, 0, 0, c.zone)
			maybe = append(maybe, at)
			for _, shift := range []time.Duration{30 * time.Minute, time.Hour} {
				if change.Sub(at).Abs() < 24*time.Hour {
					maybe = append(maybe, at.Add(-shift), at.Add(shift))
				}
			}
		}
	}
	slices.SortFunc(maybe, time.Time.Compare)
	var turns []time.Time
	for i, t := range maybe {
		if i > 0 && t.Equal(maybe[i-1]) || !t.After(from) || t.After(to) || c.Working(t) == c.Working(t.Add(-time.Nanosecond)) {
			continue
		}
		turns = append(turns, t.UTC())
	}
	return turns
}

// Working reports whether t is within the working hours, by the clocks on the walls of
// the calendar's time zone.
func (c Calendar) Working(t time.Time) bool {
	if c.zone == nil {
		return false
	}
	t = t.In(c.zone)
	minute := t.Hour()*60 + t.Minute()
	return c.days[t.Weekday()] && minute >= c.from && minute < c.to && !c.holidays[t.Format(time.DateOnly)]
}
