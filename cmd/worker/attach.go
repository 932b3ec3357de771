package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"toolhand/internal/config"
	"toolhand/internal/worker"
)

type attachCmd struct {
	adminFlags
	ID string `arg:"" help:"The session's id (sesn_…)."`
}

// Help is the long help.
func (attachCmd) Help() string {
	return `The session is served until it ends or is detached, however quiet it is. The exit code is 0 when the worker serves it, or has begun to.

Example:

  worker attach sesn_011CZkZAtmR3yMPDzynEDxu7
`
}

// Run asks a running worker to serve a session.
func (c attachCmd) Run(p *process) error {
	if err := config.SessionID(c.ID); err != nil {
		return worker.Usagef("%w", err)
	}
	body, err := json.Marshal(map[string]string{"id": c.ID})
	if err != nil {
		return err
	}
	return c.change(p, http.MethodPost, "/api/v1/sessions", string(body), map[int]string{
		http.StatusCreated: c.ID + " is attached", http.StatusOK: c.ID + " is served already"})
}

type detachCmd struct {
	adminFlags
	ID string `arg:"" help:"The session's id (sesn_…)."`
}

// Help is the long help.
func (detachCmd) Help() string {
	return `What runs of the session is finished and sent first. Then it is served again only when somebody attaches it, or after a restart.

Example:

  worker detach sesn_011CZkZAtmR3yMPDzynEDxu7
`
}

// Run asks a running worker to leave a session.
func (c detachCmd) Run(p *process) error {
	if err := config.SessionID(c.ID); err != nil {
		return worker.Usagef("%w", err)
	}
	return c.change(p, http.MethodDelete, "/api/v1/sessions/"+url.PathEscape(c.ID), "", map[int]string{
		http.StatusAccepted: c.ID + " is being detached"})
}

// change asks a running worker for something. said has what is printed for each status
// that is no error.
func (f adminFlags) change(p *process, method, path, body string, said map[int]string) error {
	got, err := f.ask(p, method, path, body, worker.AskTimeout)
	if err != nil {
		return err
	}
	if text, ok := said[got.Status]; ok {
		_, err := fmt.Fprintln(p.stdout, text)
		return err
	}
	var wrong struct{ Error string }
	_ = json.Unmarshal(got.Body, &wrong) // without it the status alone is told
	if wrong.Error == "" {
		wrong.Error = http.StatusText(got.Status)
	}
	return fmt.Errorf("the worker answers: %s", printable(wrong.Error))
}
