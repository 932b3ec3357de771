package sim_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
)

// pipes is a listener of net.Pipe connections, for bubbles.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestInABubble runs the server on fake time: heartbeats come on the second,
// and processed_at rises although the clock stands still.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := sim.New(sim.Options{Heartbeat: 15 * time.Second})
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		web := &http.Server{Handler: srv}
		var served sync.WaitGroup
		served.Go(func() {
			if err := web.Serve(p); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		hc := &http.Client{Transport: &http.Transport{DialContext: p.dial}}
		b := &bed{t: t, ctx: t.Context(), srv: srv, hc: hc}
		sess := srv.Session("sesn_1")
		begin := time.Now()
		res, err := hc.Do(b.requestTo("http://sim", "GET", eventsPath(sess)+"/stream", ""))
		if err != nil {
			t.Fatal(err)
		}
		st := &stream{b: b, res: res, read: bufio.NewReader(res.Body)}
		if line, err := st.read.ReadString('\n'); err != nil || line != "event: ping\n" || time.Since(begin) != 15*time.Second {
			t.Errorf("%q %v after %s", line, err, time.Since(begin))
		}
		id := sess.CallTool("a", `{}`)
		sess.CallTool("a", `{}`)
		one, two := st.next(), st.next()
		if one.ID != id || *one.ProcessedAt >= *two.ProcessedAt {
			t.Errorf("%s, then %s", one.raw, two.raw)
		}
		sess.Fail(sim.Get, faults.Delay(time.Hour))
		begin = time.Now()
		slow, err := hc.Do(b.requestTo("http://sim", "GET", "/v1/sessions/sesn_1", ""))
		if err != nil || time.Since(begin) != time.Hour {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		slow.Body.Close()
		sess.Fail(sim.Send, sim.ResetAfter())
		if _, err := hc.Do(b.requestTo("http://sim", "POST", eventsPath(sess), result(id))); err == nil {
			t.Error("no reset over a pipe")
		}
		if r, ok := sess.Result(id); !ok || r.Took != time.Hour {
			t.Errorf("result %+v", r)
		}
		short, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := sess.WaitAnswered(short, two.ID); err == nil || !strings.Contains(err.Error(), "results of "+two.ID) {
			t.Errorf("the wait says %v", err)
		}
		srv.Close()
		res.Body.Close()
		hc.CloseIdleConnections()
		if err := web.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		p.Close()
		served.Wait()
	})
}
