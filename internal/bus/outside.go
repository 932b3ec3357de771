package bus

import (
	"crypto/subtle"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"toolhand/internal/tools/natswire"
)

const (
	// serverName is what the embedded server calls itself.
	serverName     = "toolhand"
	ownAccount     = "toolhand"
	outsideAccount = "outside"

	defaultInbox = "_INBOX"
	// ownReplyWithin is how long a client may take to answer another client's request,
	// and to acknowledge a job by itself: the server keeps each of them in memory for as
	// long, answered or not.
	ownReplyWithin = time.Hour
	// warnEvery is how often clients with the default inbox are logged.
	warnEvery = time.Minute
)

// accounts keeps those from outside away from JetStream. They answer the requests to
// tools and ask nothing of us but what the exports of our account name: to take a result
// or an acknowledgement, and the job queue, whose API they find in the domain toolhand
// (jetstream.NewWithDomain): on its own subjects the server answers for each account by
// itself, and theirs has no JetStream. They are told which calls are over. A reply passes
// the border for 24 hours.
var accounts = strings.NewReplacer(
	"<tool>", natswire.ToolSubjects, "<cancel>", natswire.CancelSubjects, "<handin>", natswire.HandInSubjects,
	"<results>", natswire.ResultSubjects, "<ack>", natswire.AckSubject, "<jobs>", natswire.JobStream,
).Replace(`
accounts {
  toolhand {
    jetstream: enabled
    exports: [
      { stream: "<cancel>>", accounts: [outside] }
      { service: "<handin>*", accounts: [outside] }
      { service: "<ack>", accounts: [outside] }
      { service: "$JS.API.STREAM.INFO.<jobs>", accounts: [outside] }
      { service: "$JS.API.CONSUMER.INFO.<jobs>.*", accounts: [outside] }
      { service: "$JS.API.CONSUMER.MSG.NEXT.<jobs>.*", response_type: stream, accounts: [outside] }
      { service: "$JS.ACK.<jobs>.>", accounts: [outside] }
    ]
    imports: [
      { service: { account: outside, subject: "<tool>>" } }
      { service: { account: outside, subject: "$SRV.>" } }
    ]
  }
  outside {
    exports: [
      { service: "<tool>>", threshold: "24h", accounts: [toolhand] }
      { service: "$SRV.>", response_type: stream, accounts: [toolhand] }
    ]
    imports: [
      { stream: { account: toolhand, subject: "<cancel>>" } }
      { service: { account: toolhand, subject: "<handin>*" }, to: "<results>*" }
      { service: { account: toolhand, subject: "<ack>" } }
      { service: { account: toolhand, subject: "$JS.API.STREAM.INFO.<jobs>" }, to: "$JS.toolhand.API.STREAM.INFO.<jobs>" }
      { service: { account: toolhand, subject: "$JS.API.CONSUMER.INFO.<jobs>.*" }, to: "$JS.toolhand.API.CONSUMER.INFO.<jobs>.*" }
      { service: { account: toolhand, subject: "$JS.API.CONSUMER.MSG.NEXT.<jobs>.*" }, to: "$JS.toolhand.API.CONSUMER.MSG.NEXT.<jobs>.*" }
      { service: { account: toolhand, subject: "$JS.ACK.<jobs>.>" } }
    ]
  }
}
`)

// answers are where our requests to tools and to $SRV are answered from outside: the
// server makes a subject with 36 random bits for each of them, and shows it only to
// clients that get the request. An answer there is bound to no connection, so that a
// handler that had to connect again can still answer. No client may subscribe to these
// subjects, and the server takes none of them as the reply subject of a client's request.
const answers = "_R_.>"

// permissions are what a client of Listen reaches in its account, besides its
// inboxes. Other reply subjects are in no list: the server allows each one only to the
// connection that got the message. These are the inboxes of other clients, which may be
// easy to guess, and the acknowledgements of jobs, which are made of small numbers. They
// are nothing else, since [listener] lets a client name only its own inboxes.
// There is no limit of messages: several services of one connection answer one request
// of $SRV, and a job is acknowledged as in progress many times.
func permissions(inboxes ...string) *server.Permissions {
	shared := []string{natswire.ToolSubjects + ">", "$SRV.>", natswire.CancelSubjects + ">"}
	for _, inbox := range inboxes {
		shared = append(shared, inbox+".>")
	}
	queue := []string{
		answers,
		natswire.ResultSubjects + "*",
		natswire.AckSubject,
		"$JS.API.CONSUMER.INFO." + natswire.JobStream + ".*", // answered: no JetStream here, and so the domain is asked
		"$JS.toolhand.API.STREAM.INFO." + natswire.JobStream,
		"$JS.toolhand.API.CONSUMER.INFO." + natswire.JobStream + ".*",
		"$JS.toolhand.API.CONSUMER.MSG.NEXT." + natswire.JobStream + ".*",
	}
	return &server.Permissions{
		Subscribe: &server.SubjectPermission{Allow: shared},
		Publish:   &server.SubjectPermission{Allow: append(queue, shared...)},
		Response:  &server.ResponsePermission{MaxMsgs: -1, Expires: ownReplyWithin},
	}
}

// clientName is a user name that an inbox may be called after: it is part of one
// token of a subject.
var clientName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// clients tells who comes: this process by its secret, all others by the token,
// where there is one.
type clients struct {
	secret, token string
	own, outside  *server.Account // set before the server starts
	log           *slog.Logger

	mu     sync.Mutex
	warned time.Time // guarded by mu; the last line about a default inbox
}

// Check implements server.Authentication.
func (a *clients) Check(c server.ClientAuthentication) bool {
	shown := c.GetOpts()
	if shown.Username == ownAccount {
		if !same(shown.Password, a.secret) {
			return false
		}
		c.RegisterUser(&server.User{Username: ownAccount, Account: a.own})
		return true
	}
	if a.token != "" && !same(shown.Token, a.token) && !same(shown.Password, a.token) {
		return false
	}
	user := &server.User{Username: outsideAccount, Account: a.outside, Permissions: permissions(defaultInbox)}
	if clientName.MatchString(shown.Username) {
		user.Username = shown.Username
		user.Permissions = permissions(defaultInbox, inboxOf(shown.Username))
	} else {
		a.warn(c)
	}
	c.RegisterUser(user)
	return true
}

func (a *clients) warn(c server.ClientAuthentication) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.warned.IsZero() && time.Since(a.warned) < warnEvery {
		return
	}
	a.warned = time.Now()
	from := ""
	if addr := c.RemoteAddress(); addr != nil {
		from = addr.String()
	}
	a.log.Warn("a client of nats.listen has the default inbox, which others can read: give it a user name and the inbox prefix _INBOX_<user name>; a later version refuses it",
		"client", from, "name", c.GetOpts().Name)
}

// inboxOf is the prefix of the inboxes of a user.
func inboxOf(name string) string { return defaultInbox + "_" + name }

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
