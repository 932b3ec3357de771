package nats

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"toolhand/internal/tools"
	"toolhand/internal/tools/natswire"
)

// Config is a manifest's handler.nats.
type Config struct {
	// Subject is where the tool is asked. Empty means toolhand.tool.NAME.
	Subject string `yaml:"subject"`
	// Queue says that calls are jobs in the queue, for [toolhand/internal/tools/queue.NewHandler].
	Queue bool `yaml:"queue"`
}

//go:embed schema.json
var schema string

// Schema is the form of what manifests may say of a Config; see [tools.Config].
func (Config) Schema() string { return schema }

const (
	// maxSubject is in bytes: a server takes 4096 for subject, reply and sizes
	// together.
	maxSubject = 1024
)

// New makes the handler that asks on a NATS subject. The subject is checked;
// nothing is sent. conn gives the connection, and is asked anew for each call:
// an error of it is why the tool is unavailable then, and so is a conn that is
// nil. Connections must be made with nats.ReconnectBufSize(-1), so that a call
// which was told to have failed is not sent later.
func New(cfg Config, common tools.Common, conn func() (*nats.Conn, error)) (tools.Handler, error) {
	subject := cfg.Subject
	if subject == "" {
		subject = natswire.ToolSubjects + common.Name
	}
	if err := CheckSubject(subject); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	if conn == nil {
		conn = func() (*nats.Conn, error) { return nil, errors.New("there is no connection to NATS here") }
	}
	return &handler{subject: subject, conn: conn, max: common.MaxResultBytes, log: common.Logger()}, nil
}

// CheckSubject refuses what is no subject of one tool, and the subjects that
// NATS, JetStream and the worker itself are reached on: whoever writes a manifest
// could write to the journal by one of these.
func CheckSubject(subject string) error {
	if len(subject) > maxSubject {
		return fmt.Errorf("expected at most %d bytes, found %d", maxSubject, len(subject))
	}
	for token := range strings.SplitSeq(subject, ".") {
		switch {
		case token == "":
			return fmt.Errorf("%q has an empty part: expected parts divided by single dots, such as toolhand.tool.NAME", subject)
		case strings.ContainsAny(token, "*>"):
			return fmt.Errorf("%q has a wildcard: expected the one subject that the tool is asked on", subject)
		case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xfffd }):
			return fmt.Errorf("%q has a space or a control character", subject)
		}
	}
	switch {
	case strings.HasPrefix(subject, "$"), strings.HasPrefix(subject, "_"):
		return fmt.Errorf("%q: what begins with $ or _ is NATS' own", subject)
	case subject == "toolhand", strings.HasPrefix(subject, "toolhand.") && !strings.HasPrefix(subject, natswire.ToolSubjects):
		return fmt.Errorf("%q: below toolhand only %sNAME is a tool's", subject, natswire.ToolSubjects)
	}
	return nil
}
