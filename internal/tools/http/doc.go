// Package http runs a call as a POST to a URL, which is never redirected and never sent
// twice.
package http
