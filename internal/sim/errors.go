package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// apiError is a refusal in the API's own form.
type apiError struct {
	status  int
	kind    string
	message string
}

func (e *apiError) Error() string { return e.message }

func refuse(status int, format string, args ...any) *apiError {
	return &apiError{status: status, kind: errorType(status), message: fmt.Sprintf(format, args...)}
}

// errorType is the error type that the API uses with a status.
func errorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusPaymentRequired:
		return "billing_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound, http.StatusGone:
		return "not_found_error"
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return "timeout_error"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable, 529:
		return "overloaded_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// errorBody is the JSON of an error.
func errorBody(kind, message, requestID string) json.RawMessage {
	return object(
		"type", "error",
		"error", object("type", kind, "message", message),
		"request_id", requestID,
	)
}

func writeError(w http.ResponseWriter, err *apiError, requestID string) {
	writeJSON(w, err.status, errorBody(err.kind, err.message, requestID))
}

func writeJSON(w http.ResponseWriter, status int, body json.RawMessage) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has left is no concern of the API's
}
