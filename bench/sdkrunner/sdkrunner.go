package sdkrunner

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/option"
)

// Client is what sessions share.
type Client struct {
	sdk   anthropic.Client
	tools []anthropic.BetaTool
	log   *slog.Logger
}

// New makes a client of the API at url. run is what every tool does.
func New(url string, hc *http.Client, names []string, run func(name string, input []byte) string, log *slog.Logger) *Client {
	c := &Client{log: log, sdk: anthropic.NewClient(option.WithoutEnvironmentDefaults(), option.WithBaseURL(url),
		option.WithAPIKey("any"), option.WithHTTPClient(hc))}
	for _, name := range names {
		c.tools = append(c.tools, tool{name, run})
	}
	return c
}

// Serve runs a session's tools until ctx ends or the session does.
func (c *Client) Serve(ctx context.Context, id string) error {
	never := -1 * anthropic.DefaultMaxIdle
	runner := c.sdk.Beta.Sessions.Events.NewToolRunner(ctx, id, anthropic.SessionToolRunnerOptions{
		Tools: c.tools, MaxIdle: &never, Logger: c.log,
	})
	defer runner.Close()
	for runner.Next() {
		if !runner.Current().Posted {
			return errors.New("a result was not posted")
		}
	}
	return runner.Err()
}

type tool struct {
	name string
	run  func(name string, input []byte) string
}

func (t tool) Name() string        { return t.name }
func (t tool) Description() string { return "for the benchmark" }
func (t tool) InputSchema() anthropic.BetaToolInputSchemaParam {
	return anthropic.BetaToolInputSchemaParam{Properties: map[string]any{}}
}

// Execute implements anthropic.BetaTool.
func (t tool) Execute(_ context.Context, input json.RawMessage) ([]anthropic.BetaToolResultBlockParamContentUnion, error) {
	return []anthropic.BetaToolResultBlockParamContentUnion{{OfText: &anthropic.BetaTextBlockParam{Text: t.run(t.name, input)}}}, nil
}
