package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"toolhand/internal/document"
)

// Config is worker.yaml, key by key. Paths are as they are to be opened: with
// a file, relative ones (defaults too) have become relative to its directory.
// It is made by [Default] or [Load] and not changed once the worker runs.
type Config struct {
	Upstream Upstream `yaml:"upstream"`
	Sessions Sessions `yaml:"sessions"`
	Results  Results  `yaml:"results"`
	Tools    Tools    `yaml:"tools"`
	NATS     NATS     `yaml:"nats"`
	Journal  Journal  `yaml:"journal"`
	Admin    Admin    `yaml:"admin"`
	Log      Log      `yaml:"log"`
	Shutdown Shutdown `yaml:"shutdown"`
}

// Upstream is how the Managed Agents API is reached.
type Upstream struct {
	// BaseURL is the API's address: http or https, without user, query and
	// fragment.
	BaseURL string `yaml:"base_url"`
	// APIKeyFile is the file that holds the key. Empty means none.
	APIKeyFile string `yaml:"api_key_file" config:"path"`
	// WorkspaceID picks the workspace of a credential that has several. Empty
	// means the credential's own.
	WorkspaceID string `yaml:"workspace_id"`
	// RequestsPerMinute is the budget of all workers together; 0 is no limit
	// of our own.
	RequestsPerMinute int `yaml:"requests_per_minute"`
	// StreamIdleTimeout is how long a stream may be without a byte.
	StreamIdleTimeout Duration `yaml:"stream_idle_timeout"`
	// ReconcileInterval is how often the history of a busy session is read
	// although its stream seems well.
	ReconcileInterval Duration `yaml:"reconcile_interval"`
	// RequestTimeout is the wall clock of one list or get, its body included.
	RequestTimeout Duration `yaml:"request_timeout"`
	// SendTimeout is the wall clock of one attempt to send.
	SendTimeout Duration `yaml:"send_timeout"`
}

// Sessions is which sessions are served, and for how long.
type Sessions struct {
	// IDs are served from the start and never detached by MaxIdle.
	IDs      []string         `yaml:"ids"`
	Discover SessionsDiscover `yaml:"discover"`
	Webhook  Webhook          `yaml:"webhook"`
	// MaxActive is how many streams are open at once in this process.
	MaxActive int `yaml:"max_active"`
	// MaxIdle is how long after the end of a turn a session is detached.
	MaxIdle Duration `yaml:"max_idle"`
}

// SessionsDiscover finds sessions by their agents.
type SessionsDiscover struct {
	// AgentIDs are the agents whose sessions are served. Empty means that
	// none are looked for.
	AgentIDs []string `yaml:"agent_ids"`
	// Interval is the time between two looks.
	Interval Duration `yaml:"interval"`
}

// Webhook is where signed deliveries wake sessions.
type Webhook struct {
	// Listen is host:port. Empty means off.
	Listen string `yaml:"listen"`
	// Path is the URL's path, with its leading slash.
	Path string `yaml:"path"`
}

// Values of [Results.Flush].
const (
	FlushTurn  = "turn"
	FlushEager = "eager"
)

// Results is when results are sent.
type Results struct {
	// Flush is FlushTurn (one send when the turn's calls are all done) or
	// FlushEager (each as it is done).
	Flush string `yaml:"flush"`
	// Linger is how long the results of a thread wait for the idle event once
	// its last known call is done. Zero is no wait.
	Linger Duration `yaml:"linger"`
}

// Values of [Tools.Unknown].
const (
	UnknownError  = "error"
	UnknownIgnore = "ignore"
)

// Tools is where tools come from and how they share this process.
type Tools struct {
	// Dir holds the manifests.
	Dir string `yaml:"dir" config:"path"`
	// Unknown is UnknownError (answer that there is no such tool) or
	// UnknownIgnore (leave the call to another client).
	Unknown string `yaml:"unknown"`
	// Concurrency is how many calls run at once in this process.
	Concurrency int           `yaml:"concurrency"`
	Discover    ToolsDiscover `yaml:"discover"`
}

// ToolsDiscover says which tools announced by NATS services are taken. It is
// written as true, false or a list of names. The zero value takes none.
type ToolsDiscover struct {
	// All takes every announced tool.
	All bool
	// Names are the only ones taken, where All is false.
	Names []string
}

// Decode reads what a file has.
func (d *ToolsDiscover) Decode(n *document.Node) error {
	d.All, d.Names = n.Text == "true", nil
	for _, item := range n.Items {
		d.Names = append(d.Names, item.Text)
	}
	return nil
}

// NATS is the connection that journal, queue and fleet work on.
type NATS struct {
	// URL is a server or cluster. Empty means one embedded in this process.
	URL string `yaml:"url"`
	// Listen is the embedded server's address for others, host:port. Empty
	// means that it has none.
	Listen string `yaml:"listen"`
	// TokenFile holds the token that clients of Listen show.
	TokenFile string `yaml:"token_file" config:"path"`
	// TLSCertFile and TLSKeyFile are what Listen shows. Empty: no TLS.
	TLSCertFile string `yaml:"tls_cert_file" config:"path"`
	TLSKeyFile  string `yaml:"tls_key_file" config:"path"`
	// StoreDir is where the embedded server keeps its files. Empty means
	// $STATE_DIRECTORY, else ./data.
	StoreDir string `yaml:"store_dir" config:"path"`
	// CredentialsFile is shown to the server at URL.
	CredentialsFile string `yaml:"credentials_file" config:"path"`
	// Replicas is the number of copies of streams and buckets on a cluster.
	Replicas int `yaml:"replicas"`
	// Queue is the job queue of nats tools with queue: true.
	Queue Queue `yaml:"queue"`
}

// Queue is what bounds the job queue.
type Queue struct {
	// MaxAge is how long a job and a result are kept.
	MaxAge Duration `yaml:"max_age"`
	// MaxBytes bounds the jobs, and the results likewise.
	MaxBytes int `yaml:"max_bytes"`
	// AckWait is how long who took a job may be silent about it.
	AckWait Duration `yaml:"ack_wait"`
}

// Values of [Journal.Sync].
const (
	SyncAlways   = "always"
	SyncInterval = "interval"
)

// Journal is how calls are written down.
type Journal struct {
	// Sync is SyncAlways (fsync before a call starts) or SyncInterval
	// (survives a crash of the process, not of the machine).
	Sync string `yaml:"sync"`
	// MaxBytes bounds the journal's bucket: full, it refuses more.
	MaxBytes int `yaml:"max_bytes"`
}

// Admin is the address for operators.
type Admin struct {
	// Listen is host:port; port 0 takes any free one. Empty means off.
	Listen string `yaml:"listen"`
	// TokenFile holds the bearer token; required where Listen is not loopback.
	TokenFile string `yaml:"token_file" config:"path"`
	// TLSCertFile and TLSKeyFile are what Listen shows. Empty: no TLS.
	TLSCertFile string `yaml:"tls_cert_file" config:"path"`
	TLSKeyFile  string `yaml:"tls_key_file" config:"path"`
}

// Log is what is logged, and how it looks.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is auto (tint on a terminal, json elsewhere), tint, text (the
	// same as tint) or json.
	Format string `yaml:"format"`
}

// Shutdown is how the worker stops.
type Shutdown struct {
	// Grace is the wall clock of a drain.
	Grace Duration `yaml:"grace"`
}

// DefaultBaseURL is the API's own address.
const DefaultBaseURL = "https://api.anthropic.com"

// Default is the configuration that stands where no file says otherwise. Its
// relative paths are relative to the working directory.
func Default() Config {
	return Config{
		Upstream: Upstream{
			BaseURL:           DefaultBaseURL,
			RequestsPerMinute: 600,
			StreamIdleTimeout: Seconds(90),
			ReconcileInterval: Seconds(300),
			RequestTimeout:    Seconds(30),
			SendTimeout:       Seconds(15),
		},
		Sessions: Sessions{
			Discover:  SessionsDiscover{Interval: Seconds(15)},
			Webhook:   Webhook{Path: "/webhook"},
			MaxActive: 1000,
			MaxIdle:   Seconds(60),
		},
		Results:  Results{Flush: FlushTurn, Linger: Seconds(0.25)},
		Tools:    Tools{Dir: "tools.d", Unknown: UnknownError, Concurrency: 64},
		NATS:     NATS{Replicas: 1, Queue: Queue{MaxAge: Seconds(24 * 3600), MaxBytes: 1 << 30, AckWait: Seconds(30)}},
		Journal:  Journal{Sync: SyncAlways, MaxBytes: 2 << 30},
		Admin:    Admin{Listen: "127.0.0.1:9464"},
		Log:      Log{Level: "info", Format: "auto"},
		Shutdown: Shutdown{Grace: Seconds(30)},
	}
}

// EnvFile names the environment variable of the configuration's path.
const EnvFile = "TOOLHAND_CONFIG"

// places are looked at in this order where no path is given.
var places = [...]string{"worker.yaml", "/etc/toolhand/worker.yaml"}

// Find says which file is to be loaded: given (the flag's value), else that of
// TOOLHAND_CONFIG, else ./worker.yaml, else /etc/toolhand/worker.yaml. An empty
// path without an error means the defaults. A file that was named and is
// missing is an error, and so is one that can't be looked at: defaults must not
// silently stand for what an operator wrote.
func Find(given string, lookupEnv func(string) (string, bool)) (string, error) {
	if given == "" {
		given, _ = lookupEnv(EnvFile)
	}
	if given != "" {
		if _, err := os.Stat(given); err != nil {
			return "", fmt.Errorf("configuration: %w; name another with --config, or none to look for ./worker.yaml and /etc/toolhand/worker.yaml", err)
		}
		return given, nil
	}
	for _, place := range places {
		_, err := os.Stat(place)
		if err == nil {
			return place, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("configuration: %w", err)
		}
	}
	return "", nil
}

// Environ lays the environment over the configuration: ANTHROPIC_BASE_URL
// stands for upstream.base_url, whatever the file says. An empty variable is
// one that is not set. The other variables of the precedence are those of the
// command's flags.
func (c *Config) Environ(lookupEnv func(string) (string, bool)) error {
	const name = "ANTHROPIC_BASE_URL"
	url, _ := lookupEnv(name)
	if url == "" {
		return nil
	}
	if wrong := checkBaseURL(url); wrong != "" {
		return fmt.Errorf("environment variable %s: %s", name, wrong)
	}
	c.Upstream.BaseURL = url
	return nil
}
