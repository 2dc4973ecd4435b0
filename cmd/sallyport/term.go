package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sallyport"
)

// endOf reads until when something lasts: days ("90d"), a duration ("36h"), or a date, whose day is the first that
// it does not last. "" is no end.
func endOf(term string, now time.Time) (time.Time, error) {
	if term == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(term, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return now.AddDate(0, 0, int(n)), nil
		}
	}
	if d, err := time.ParseDuration(term); err == nil && d > 0 {
		return now.Add(d), nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, term, time.Local); err == nil {
		return day, nil
	}
	return time.Time{}, sallyport.E("read end", sallyport.Invalid, fmt.Sprintf("%.40q is neither a time span nor a day", term), "write 90d, 36h or 2027-06-30")
}
