package stage

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"toolhand/bench/control"
	"toolhand/internal/sim"
)

// ID is the id of the nth session, from 0.
func ID(n int) string { return "sesn_bench" + strconv.Itoa(n) }

// Config is what the process is started with.
type Config struct {
	// TLS serves over HTTP/2 with a certificate of its own, whose file it writes
	// to CertFile.
	TLS      bool   `json:"tls"`
	CertFile string `json:"cert_file"`
}

// Attach asks to wait until the sessions up to a number have a stream, and their
// history was read.
type Attach struct {
	Sessions int `json:"sessions"`
}

// Round is a round of calls.
type Round struct {
	// Sessions make calls, those with the lowest numbers.
	Sessions int `json:"sessions"`
	// Turns is how many each of them makes, one after another.
	Turns int `json:"turns"`
	// Calls is how many calls a turn has.
	Calls int `json:"calls"`
	// Tool is what is called.
	Tool string `json:"tool"`
	// Period is how far apart the turns of a session begin, in seconds. Zero:
	// each begins when the one before is answered.
	Period float64 `json:"period"`
	// Filler is the size in bytes of a message that each turn begins with, which
	// no competitor needs. Zero: none.
	Filler int `json:"filler"`
}

// Outcome is what a round came to.
type Outcome struct {
	Calls   int     `json:"calls"`
	Seconds float64 `json:"seconds"`
	// Took are the times from a call to its accepted result, in microseconds,
	// sorted.
	Took []float64 `json:"took"`
	// Turns are the times from a turn's first call to its last result, in
	// microseconds, sorted.
	Turns []float64 `json:"turns"`
	// Requests is how many requests came meanwhile.
	Requests int `json:"requests"`
}

// turnTimeout bounds one turn, so that a competitor that loses a call fails
// rather than hangs.
const turnTimeout = time.Minute

type stage struct {
	srv *sim.Server
	url string
}

// Main serves the API and answers on standard output what it is asked on
// standard input.
func Main(args string) error {
	var cfg Config
	if err := json.Unmarshal([]byte(args), &cfg); err != nil {
		return err
	}
	debug.SetGCPercent(1000) // the API's own work must not be what is measured
	s := &stage{srv: sim.New(sim.Options{KeepRequests: 1})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: echo(s.srv), ReadHeaderTimeout: 10 * time.Second}
	s.url = "http://" + ln.Addr().String()
	if cfg.TLS {
		cert, err := certificate(cfg.CertFile)
		if err != nil {
			return err
		}
		s.url = "https://" + ln.Addr().String()
		web.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
		web.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 100} // as usual at proxies
		go func() { _ = web.ServeTLS(ln, "", "") }()             // ends with the process
	} else {
		go func() { _ = web.Serve(ln) }() // the same
	}
	return control.Serve(os.Stdin, os.Stdout, control.Actions{
		"url":     control.Action(func(struct{}) (any, error) { return s.url, nil }),
		"make":    control.Action(s.make),
		"attach":  control.Action(s.attach),
		"round":   control.Action(s.round),
		"history": control.Action(s.history),
	})
}

// echo answers POST /echo with its body, for the calls of http tools, and leaves
// the rest to the API.
func echo(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/echo" {
			api.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(w, r.Body) // the client sees it
	})
}

// make makes the sessions up to a number, so that the API knows them.
func (s *stage) make(n int) (any, error) {
	for i := range n {
		s.srv.Session(ID(i))
	}
	return nil, nil
}

func (s *stage) attach(a Attach) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for i := range a.Sessions {
		for s.srv.Session(ID(i)).Streams() == 0 || s.srv.Count(ID(i), sim.List) == 0 {
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("session %d was not attached: %w", i, ctx.Err())
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	return nil, nil
}

// history gives sessions a past: turns that were made and answered by others.
func (s *stage) history(r Round) (any, error) {
	for i := range r.Sessions {
		sess := s.srv.Session(ID(i))
		for range r.Turns {
			id := sess.CallTool(r.Tool, `{}`)
			sess.RequireAction(id)
			if err := sess.Answer(id, "done"); err != nil {
				return nil, err
			}
			sess.EndTurn()
		}
	}
	return nil, nil
}

func (s *stage) round(r Round) (any, error) {
	before := s.srv.Count("", "")
	took := make([][]float64, r.Sessions)
	turns := make([][]float64, r.Sessions)
	errs := make([]error, r.Sessions)
	begin := time.Now()
	var all sync.WaitGroup
	for i := range r.Sessions {
		all.Go(func() { took[i], turns[i], errs[i] = s.play(r, i, begin) })
	}
	all.Wait()
	out := Outcome{Seconds: time.Since(begin).Seconds(), Requests: s.srv.Count("", "") - before}
	for i := range took {
		if errs[i] != nil {
			return nil, errs[i]
		}
		out.Took = append(out.Took, took[i]...)
		out.Turns = append(out.Turns, turns[i]...)
	}
	out.Calls = len(out.Took)
	slices.Sort(out.Took)
	slices.Sort(out.Turns)
	return out, nil
}

// play makes the turns of one session.
func (s *stage) play(r Round, n int, begin time.Time) (took, turns []float64, err error) {
	sess := s.srv.Session(ID(n))
	period := time.Duration(r.Period * float64(time.Second))
	next := begin.Add(period * time.Duration(n) / time.Duration(r.Sessions))
	filler := strings.Repeat("x", r.Filler)
	ids := make([]string, r.Calls)
	for range r.Turns {
		if period > 0 {
			time.Sleep(time.Until(next))
			next = next.Add(period)
		}
		if filler != "" {
			sess.Message(filler)
		}
		for i := range ids {
			ids[i] = sess.Call(sim.CallSpec{Name: r.Tool, Input: json.RawMessage(`{"path":"tests/unit","verbose":true,"seed":9007199254740993}`)})
		}
		sess.RequireAction(ids...)
		ctx, cancel := context.WithTimeout(context.Background(), turnTimeout)
		err := sess.WaitAnswered(ctx, ids...)
		cancel()
		if err != nil {
			return nil, nil, err
		}
		last := 0.0
		for _, id := range ids {
			result, _ := sess.Result(id)
			if result.IsError {
				return nil, nil, fmt.Errorf("session %s: the result is an error: %s", sess.ID(), result.Text())
			}
			t := float64(result.Took) / float64(time.Microsecond)
			took, last = append(took, t), max(last, t)
		}
		turns = append(turns, last)
	}
	return took, turns, nil
}
