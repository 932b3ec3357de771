package admin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// askTimeout is the wall clock that a part of the worker has to answer.
const askTimeout = time.Second

var errBusy = errors.New("has not answered an earlier question yet")

// part asks one part of the worker, never twice at once.
type part[T any] struct {
	f func() T
	// free holds a token while nobody asks: a part that hangs keeps one
	// goroutine and not one a question.
	free chan struct{}
}

type answer[T any] struct {
	value T
	err   error
}

// panicError is a part that panicked.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panicked: %v", e.value) }

func newPart[T any](f func() T) *part[T] {
	p := &part[T]{f: f, free: make(chan struct{}, 1)}
	p.free <- struct{}{}
	return p
}

// ask waits for its turn and for the answer, a second in all.
func (p *part[T]) ask(ctx context.Context) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case <-p.free:
	case <-ctx.Done():
		return none, errBusy
	}
	answers := make(chan answer[T], 1)
	go func() {
		defer func() { p.free <- struct{}{} }()
		answers <- call(p.f)
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, fmt.Errorf("has not answered within %v", askTimeout)
	}
}

func call[T any](f func() T) (a answer[T]) {
	defer func() {
		if v := recover(); v != nil {
			a.err = &panicError{v, debug.Stack()}
		}
	}()
	return answer[T]{value: f()}
}
