package config

import (
	"strings"
	"time"
)

// Duration is a span of time as worker.yaml has it: written the way Go does
// (90s, 5m, 250ms). The zero value is no time at all.
type Duration time.Duration

// Seconds makes a Duration of a number of seconds.
func Seconds(n float64) Duration { return Duration(n * float64(time.Second)) }

// Std is the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes the duration as a file may have it: 5m and not 5m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes what String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
