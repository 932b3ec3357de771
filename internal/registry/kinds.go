package registry

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"toolhand/internal/schema"
	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	toolhttp "toolhand/internal/tools/http"
	toolmcp "toolhand/internal/tools/mcp"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/proctree"
	"toolhand/internal/tools/queue"
)

// Dependencies are what handlers are made with besides their configuration. Each
// kind takes what it needs.
type Dependencies struct {
	// Processes owns the trees of exec tools.
	Processes *proctree.Processes
	// NATS gives the connection that nats tools are asked on, anew for each
	// call; see [toolhand/internal/tools/nats.New]. Nil, or an error of it: their manifests load,
	// and their calls are unavailable.
	NATS func() (*nats.Conn, error)
	// Queue is where the calls of nats tools with queue: true are jobs. Nil: they
	// are unavailable.
	Queue *queue.Queue
	// Servers owns the MCP servers. Nil: a manifest of one is an error.
	Servers *toolmcp.Servers
}

// kinds are the kinds of handlers, a line each, in the order in which texts name them.
func kinds() []handlerKind {
	return []handlerKind{
		kindWith("exec", toolexec.New, func(d Dependencies) *proctree.Processes { return d.Processes }),
		kindOf("http", toolhttp.New),
		kindWith("nats", makeNATS, func(d Dependencies) Dependencies { return d }),
		kindWith("mcp", toolmcp.New, func(d Dependencies) *toolmcp.Servers { return d.Servers }),
	}
}

func makeNATS(c toolnats.Config, common tools.Common, d Dependencies) (tools.Handler, error) {
	if c.Queue {
		return queue.NewHandler(c, common, d.Queue)
	}
	return toolnats.New(c, common, d.NATS)
}

// A handlerKind is a kind of handler.
type handlerKind struct {
	// name is its key in a manifest's handler, and schema that of its configuration.
	name, schema string
	// config makes an empty configuration, a pointer to it; make takes one that was read.
	config func() any
	make   func(any, tools.Common, Dependencies) (tools.Handler, error)
}

// kindOf is a kind whose constructor takes the configuration alone.
func kindOf[C tools.Config](name string, make func(C, tools.Common) (tools.Handler, error)) handlerKind {
	var zero C
	k := handlerKind{name: name, schema: zero.Schema(), config: func() any { return new(C) }}
	k.make = func(c any, common tools.Common, _ Dependencies) (tools.Handler, error) { return make(*c.(*C), common) }
	return k
}

// kindWith is a kind whose constructor takes what pick takes of the dependencies, too.
func kindWith[C tools.Config, D any](name string, make func(C, tools.Common, D) (tools.Handler, error), pick func(Dependencies) D) handlerKind {
	k := kindOf[C](name, nil)
	k.make = func(c any, common tools.Common, d Dependencies) (tools.Handler, error) {
		return make(*c.(*C), common, pick(d))
	}
	return k
}

// formText is the form of a manifest but for the kinds of handlers, which are inserted at
// KINDS: the one place where its keys, types, bounds and defaults stand.
//
//go:embed manifest.schema.json
var formText string

// ManifestSchema is the JSON Schema of a manifest (draft 2020-12), for editors.
// Load takes nothing that it refuses. The slice is the caller's own.
func ManifestSchema() []byte { return standard().form.Text() }

// A format is how manifests are written: the kinds of handlers that there are, and the
// form with their keys. It is immutable.
type format struct {
	kinds []handlerKind
	// group makes the group of a manifest of an MCP server's tools.
	group func(toolmcp.Config, tools.Common, *toolmcp.Servers) (*toolmcp.Group, error)
	form  *schema.Form
}

// kind is the kind of that name, which must be one of the format's.
func (f *format) kind(name string) handlerKind {
	return f.kinds[slices.IndexFunc(f.kinds, func(k handlerKind) bool { return k.name == name })]
}

// standard is the format of the worker's manifests.
var standard = sync.OnceValue(func() *format { return formatOf(kinds()) })

// formatOf is the format with these kinds of handlers.
func formatOf(kinds []handlerKind) *format {
	var names, parts []string
	for _, k := range kinds {
		names, parts = append(names, k.name), append(parts, `"`+k.name+`": `+k.schema)
	}
	last := len(names) - 1
	listed := strings.Join(names[:last], ", ") + " and " + names[last]
	text := strings.NewReplacer(`"KINDS": {}`, strings.Join(parts, ","), "KINDS", listed).Replace(formText)
	return &format{kinds: kinds, group: toolmcp.NewGroup, form: schema.NewForm(text)}
}
