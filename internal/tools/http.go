package tools

import "errors"

// NewHTTP makes the handler that posts a call to a URL.
func NewHTTP(cfg HTTPConfig, common Common) (Handler, error) {
	return nil, errors.New("http is being built")
}
