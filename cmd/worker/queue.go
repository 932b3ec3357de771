package main

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/config"
	"toolhand/internal/tools"
)

// newQueue is the job queue on a connection, as the configuration bounds it.
func newQueue(cfg *config.Config, conn func() (*nats.Conn, error), log *slog.Logger) *tools.Queue {
	return tools.NewQueue(tools.QueueOptions{
		Conn: conn, Replicas: cfg.NATS.Replicas, Log: log,
		MaxAge: time.Duration(cfg.NATS.Queue.MaxAge), MaxBytes: int64(cfg.NATS.Queue.MaxBytes), AckWait: time.Duration(cfg.NATS.Queue.AckWait),
		Admitted: cfg.NATS.URL == "", // who takes jobs of an embedded server comes by nats.listen
	})
}
