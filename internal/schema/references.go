package schema

import (
	"net/url"
	"strings"

	"toolhand/internal/document"
)

// draftsHost has the drafts' own schemas, which the compiler brings along.
const draftsHost = "json-schema.org"

// checkIDs tells of each part that gives itself a URL where the drafts' own schemas
// are: a reference to it would not lead where it says.
func checkIDs(ps *document.Problems, n *document.Node, pointer string) bool {
	before := len(ps.List)
	eachPart(n, func(part *document.Node) {
		for i, item := range part.Items {
			if key := part.Keys[i].Text; item.Kind != document.String || key != "$id" && key != "id" {
				continue
			}
			if u, err := url.Parse(item.Text); err == nil && strings.EqualFold(u.Hostname(), draftsHost) {
				ps.At(item, pointer, "expected %s to be a URL of your own, found %s: those of %s are the drafts'", part.Keys[i].Text, document.Quote(item.Text), draftsHost)
			}
		}
	})
	return len(ps.List) == before
}

// checkReferences tells of every reference that is not followed; the compiler
// alone would tell of one, and not always the same. A schema with an $id is left
// to the compiler, since it moves what references are relative to.
func checkReferences(ps *document.Problems, n *document.Node, pointer string, o Options) bool {
	base, err := url.Parse(o.url())
	if err != nil || hasID(n) {
		return true
	}
	before := len(ps.List)
	eachReference(n, func(item *document.Node) {
		u, err := base.Parse(item.Text)
		if err != nil {
			return // the compiler says what is wrong with it
		}
		u.Fragment, u.RawFragment = "", ""
		if target := u.String(); target != base.String() && u.Hostname() != draftsHost {
			if _, err := o.load(target); err != nil {
				ps.At(item, pointer, "%s", err)
			}
		}
	})
	return len(ps.List) == before
}

// eachReference visits the strings of $ref, $dynamicRef and $schema.
func eachReference(n *document.Node, visit func(*document.Node)) {
	eachPart(n, func(part *document.Node) {
		for i, item := range part.Items {
			if key := part.Keys[i].Text; item.Kind == document.String && (key == "$ref" || key == "$schema" || key == "$dynamicRef") {
				visit(item)
			}
		}
	})
}

func hasID(n *document.Node) bool {
	for i, item := range n.Items {
		if n.Kind == document.Mapping && item.Kind == document.String && (n.Keys[i].Text == "$id" || n.Keys[i].Text == "id") || hasID(item) {
			return true
		}
	}
	return false
}

// findReference finds the $ref, $dynamicRef or $schema that leads to target,
// else the schema itself.
func findReference(n *document.Node, base, target string) *document.Node {
	from, err := url.Parse(base)
	if err != nil {
		return n
	}
	want, _, _ := strings.Cut(target, "#")
	var find func(n *document.Node, exact bool) *document.Node
	find = func(n *document.Node, exact bool) *document.Node {
		for i, item := range n.Items {
			if n.Kind == document.Mapping && item.Kind == document.String && strings.HasPrefix(n.Keys[i].Text, "$") {
				if u, err := from.Parse(item.Text); err == nil {
					got := u.String()
					if got == target || !exact && strings.Split(got, "#")[0] == want && n.Keys[i].Text != "$id" {
						return item
					}
				}
			}
			if found := find(item, exact); found != nil {
				return found
			}
		}
		return nil
	}
	if found := find(n, true); found != nil {
		return found
	}
	if found := find(n, false); found != nil {
		return found
	}
	return n
}
