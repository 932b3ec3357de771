package registry

import (
	"net/url"
	"strings"
)

// draftsHost has the drafts' own schemas, which the compiler brings along.
const draftsHost = "json-schema.org"

// checkIDs tells of each part that gives itself a URL where the drafts' own schemas
// are: a reference to it would not lead where it says.
func checkIDs(ps *problems, n *node) bool {
	before := len(ps.list)
	eachPart(n, func(part *node) {
		for i, item := range part.items {
			if key := part.keys[i].text; item.kind != kindString || key != "$id" && key != "id" {
				continue
			}
			if u, err := url.Parse(item.text); err == nil && strings.EqualFold(u.Hostname(), draftsHost) {
				ps.at(item, "input_schema: expected %s to be a URL of your own, found %s: those of %s are the drafts'", part.keys[i].text, quoteShort(item.text), draftsHost)
			}
		}
	})
	return len(ps.list) == before
}

// checkReferences tells of every reference that is not followed; the compiler
// alone would tell of one, and not always the same. A schema with an $id is left
// to the compiler, since it moves what references are relative to.
func checkReferences(ps *problems, n *node, home schemaHome) bool {
	base, err := url.Parse(home.url())
	if err != nil || hasID(n) {
		return true
	}
	before := len(ps.list)
	eachReference(n, func(item *node) {
		u, err := base.Parse(item.text)
		if err != nil {
			return // the compiler says what is wrong with it
		}
		u.Fragment, u.RawFragment = "", ""
		if target := u.String(); target != base.String() && u.Hostname() != draftsHost {
			file, err := home.load(target)
			if err != nil {
				ps.at(item, "input_schema: %s", err)
				return
			}
			file.Close()
		}
	})
	return len(ps.list) == before
}

// eachReference visits the strings of $ref and $schema, but not those that are
// data of the schema.
func eachReference(n *node, visit func(*node)) {
	for i, item := range n.items {
		if n.kind == kindObject {
			switch key := n.keys[i].text; key {
			case "const", "enum", "default", "examples":
				continue
			case "$ref", "$schema", "$dynamicRef":
				if item.kind == kindString {
					visit(item)
				}
			}
		}
		eachReference(item, visit)
	}
}

func hasID(n *node) bool {
	for i, item := range n.items {
		if n.kind == kindObject && item.kind == kindString && (n.keys[i].text == "$id" || n.keys[i].text == "id") || hasID(item) {
			return true
		}
	}
	return false
}

// findReference finds the $ref, $dynamicRef or $schema that leads to target,
// else the schema itself.
func findReference(n *node, base, target string) *node {
	from, err := url.Parse(base)
	if err != nil {
		return n
	}
	want, _, _ := strings.Cut(target, "#")
	var find func(n *node, exact bool) *node
	find = func(n *node, exact bool) *node {
		for i, item := range n.items {
			if n.kind == kindObject && item.kind == kindString && strings.HasPrefix(n.keys[i].text, "$") {
				if u, err := from.Parse(item.text); err == nil {
					got := u.String()
					if got == target || !exact && strings.Split(got, "#")[0] == want && n.keys[i].text != "$id" {
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
