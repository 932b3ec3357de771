package config

import (
	"fmt"
	"strings"
	"time"

	"toolhand/internal/document"
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

// Decode reads what a file has: the form took it as a duration, or 0.
func (d *Duration) Decode(n *document.Node) error {
	if n.Kind == document.Number {
		*d = 0
		return nil
	}
	std, err := time.ParseDuration(n.Text)
	if err != nil {
		return fmt.Errorf("expected a duration of at most 292 years, found %s", document.Quote(n.Text))
	}
	// No form sees that 0.1ns is no time at all.
	if std == 0 && strings.ContainsAny(n.Text, "123456789") {
		return fmt.Errorf("expected a duration of whole nanoseconds, found %s", document.Quote(n.Text))
	}
	*d = Duration(std)
	return nil
}

// MarshalText writes what String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
