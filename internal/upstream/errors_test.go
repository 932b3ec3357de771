package upstream

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestKindOfStatus(t *testing.T) {
	for _, c := range []struct {
		status int
		typ    string
		want   Kind
	}{
		{301, "", KindUnknown}, {302, "", KindUnknown}, {304, "", KindUnknown}, {307, "", KindUnknown},
		{400, "invalid_request_error", KindRefused}, {400, "not_found_error", KindRefused}, {400, "", KindUnknown},
		{401, "", KindUnknown}, {401, "authentication_error", KindCredential},
		{402, "billing_error", KindForbidden}, {402, "", KindUnknown},
		{403, "permission_error", KindForbidden}, {403, "", KindUnknown},
		{404, "not_found_error", KindGone}, {404, "", KindUnknown}, {404, "invalid_request_error", KindRetry},
		{410, "not_found_error", KindGone}, {410, "", KindUnknown},
		{408, "", KindUnknown}, {408, "timeout_error", KindUnknown}, {499, "", KindUnknown},
		{409, "invalid_request_error", KindRetry}, {409, "", KindUnknown},
		{429, "rate_limit_error", KindRetry}, {429, "", KindUnknown},
		{405, "", KindUnknown}, {406, "", KindUnknown}, {412, "", KindUnknown},
		{412, "invalid_request_error", KindRefused}, {413, "request_too_large", KindRefused}, {413, "", KindUnknown},
		{422, "invalid_request_error", KindRefused}, {422, "", KindUnknown}, {431, "", KindUnknown},
		{431, "invalid_request_error", KindRefused}, {418, "", KindUnknown}, {451, "", KindUnknown},
		{500, "api_error", KindUnknown}, {501, "api_error", KindRefused}, {501, "", KindUnknown}, {502, "", KindUnknown},
		{503, "", KindUnknown}, {504, "", KindUnknown}, {529, "overloaded_error", KindUnknown},
		{200, "api_error", KindUnknown}, {201, "", KindUnknown}, {0, "", KindUnknown},
	} {
		if got := kindOf(c.status, c.typ, ""); got != c.want {
			t.Errorf("%d %s: %s, want %s", c.status, c.typ, got, c.want)
		}
		wrapped := fmt.Errorf("around it: %w", &Error{Op: "send", Status: c.status, Type: c.typ})
		if got := KindOf(wrapped); got != c.want {
			t.Errorf("%d %s, wrapped: %s, want %s", c.status, c.typ, got, c.want)
		}
	}
	if got := KindOf(fmt.Errorf("409 conflict")); got != KindUnknown {
		t.Errorf("an error that is not ours: %s", got)
	}
	if got := KindOf(nil); got != KindUnknown {
		t.Errorf("no error: %s", got)
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "", 0},
		{"Retry-After", "0", 0},
		{"Retry-After", "3", 3 * time.Second},
		{"Retry-After", "1.5", 1500 * time.Millisecond},
		{"Retry-After", "-7", 0},
		{"Retry-After", "soon", 0},
		{"Retry-After", "NaN", 0},
		{"Retry-After", "Inf", maxRetryAfter},
		{"Retry-After", "-Inf", 0},
		{"Retry-After", "1e300", maxRetryAfter},
		{"Retry-After", "999999999999999999999", maxRetryAfter},
		{"Retry-After", now.Add(time.Minute).Format(http.TimeFormat), time.Minute},
		{"Retry-After", now.Add(-time.Minute).Format(http.TimeFormat), 0},
		{"Retry-After", now.Add(48 * time.Hour).Format(http.TimeFormat), maxRetryAfter},
		{"Retry-After-Ms", "250", 250 * time.Millisecond},
		{"Retry-After-Ms", "1e300", maxRetryAfter},
		{"Retry-After-Ms", "NaN", 0},
		{"Retry-After-Ms", "-5", 0},
	} {
		h := http.Header{}
		h.Set(c.name, c.value)
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%s: %s gave %s, want %s", c.name, c.value, got, c.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  *Error
		want string
	}{
		{&Error{Op: "send", Status: 400, Type: "invalid_request_error", Message: "no"}, "send: 400 invalid_request_error: no"},
		{&Error{Op: "list", Status: 502}, "list: 502 Bad Gateway"},
		{&Error{Op: "get", Err: errTooLarge}, "get: its body is too large"},
		{&Error{Op: "list", Status: 200, Err: errTooLarge}, "list: 200 OK: its body is too large"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// A date to wait until is by the clock of who names it.
func TestRetryAfterByTheSendersClock(t *testing.T) {
	here := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour, -50 * 365 * 24 * time.Hour} {
		there := here.Add(ahead)
		h := http.Header{"Date": {there.Format(http.TimeFormat)}, "Retry-After": {there.Add(7 * time.Second).Format(http.TimeFormat)}}
		if got := retryAfter(h, here); got != 7*time.Second {
			t.Errorf("%s ahead: %s, want 7s", ahead, got)
		}
	}
}
