package sim

import (
	"net/http"
	"strings"
)

// betaHeader is the value that anthropic-beta must contain.
const betaHeader = "managed-agents-2026-04-01"

// authorize checks the headers that every request needs.
func (s *Server) authorize(h http.Header) *apiError {
	key := h.Get("X-Api-Key")
	bearer, isBearer := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	switch {
	case len(h.Values("X-Api-Key"))+len(h.Values("Authorization")) > 1:
		return refuse(http.StatusUnauthorized, "several of x-api-key and Authorization were sent: send one of them")
	case key == "" && (!isBearer || bearer == ""):
		return refuse(http.StatusUnauthorized, "an Authorization header is required")
	}
	if want := *s.key.Load(); want != "" && key+bearer != want {
		return refuse(http.StatusUnauthorized, "invalid credentials")
	}
	if h.Get("Anthropic-Version") == "" {
		return refuse(http.StatusBadRequest, "anthropic-version: header is required")
	}
	for _, line := range h.Values("Anthropic-Beta") {
		for value := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(value) == betaHeader {
				return nil
			}
		}
	}
	return refuse(http.StatusBadRequest, "anthropic-beta: this endpoint needs %s", betaHeader)
}
