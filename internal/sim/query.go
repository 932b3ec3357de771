package sim

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPage is the largest page, and the default one of a history.
const maxPage = 1000

// defaultSessions is the default page of the list of sessions.
const defaultSessions = 20

// checkQuery refuses parameters that the endpoint does not have.
func checkQuery(q url.Values, names ...string) *apiError {
	for name := range q {
		if name != "beta" && !slices.Contains(names, name) {
			return refuse(http.StatusBadRequest, "%s: unknown parameter", name)
		}
	}
	return nil
}

// queryLimit reads limit.
func queryLimit(q url.Values, standard int) (int, *apiError) {
	if !q.Has("limit") {
		return standard, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > maxPage {
		return 0, refuse(http.StatusBadRequest, "limit: must be an integer between 1 and %d", maxPage)
	}
	return n, nil
}

// queryOrder reports whether newest comes first.
func queryOrder(q url.Values, standard string) (desc bool, _ *apiError) {
	order := standard
	if q.Has("order") {
		order = q.Get("order")
	}
	if order != "asc" && order != "desc" {
		return false, refuse(http.StatusBadRequest, "order: must be asc or desc")
	}
	return order == "desc", nil
}

// queryEnum reads a repeated parameter.
func queryEnum(q url.Values, name string, allowed []string) ([]string, *apiError) {
	for _, v := range q[name] {
		if !slices.Contains(allowed, v) {
			return nil, refuse(http.StatusBadRequest, "%s: %q is not a valid value", name, v)
		}
	}
	return q[name], nil
}

// timeNames are the parameters of queryWindow.
func timeNames() []string {
	return []string{"created_at[gt]", "created_at[gte]", "created_at[lt]", "created_at[lte]"}
}

// queryWindow reads created_at[…].
func queryWindow(q url.Values) (window, *apiError) {
	w := allTime()
	for _, name := range timeNames() {
		if !q.Has(name) {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, q.Get(name))
		if err != nil {
			return w, refuse(http.StatusBadRequest, "%s: must be a time in RFC 3339", name)
		}
		w.timed = true
		before, after := key{t.UnixNano(), -1}, key{t.UnixNano(), math.MaxInt64}
		switch name {
		case "created_at[gt]":
			w.above(after)
		case "created_at[gte]":
			w.above(before)
		case "created_at[lt]":
			w.below(before)
		case "created_at[lte]":
			w.below(after)
		}
	}
	return w, nil
}

func (w *window) above(k key) {
	if w.low.less(k) {
		w.low = k
	}
}

func (w *window) below(k key) {
	if k.less(w.high) {
		w.high = k
	}
}

// cursor is the opaque form of a place between two entries.
func cursor(desc bool, k key) string {
	text := fmt.Sprintf("%t %d %d", desc, k.at, k.seq)
	return "page_" + base64.RawURLEncoding.EncodeToString([]byte(text))
}

// turn moves the window to where a cursor stands.
func (w *window) turn(q url.Values, desc bool) *apiError {
	if !q.Has("page") {
		return nil
	}
	bad := refuse(http.StatusBadRequest, "page: not a cursor of this list")
	raw, found := strings.CutPrefix(q.Get("page"), "page_")
	text, err := base64.RawURLEncoding.DecodeString(raw)
	if !found || err != nil {
		return bad
	}
	var k key
	var was bool
	if n, err := fmt.Sscanf(string(text), "%t %d %d", &was, &k.at, &k.seq); n != 3 || err != nil || was != desc {
		return bad
	}
	if desc {
		w.below(k)
	} else {
		w.above(k)
	}
	return nil
}
