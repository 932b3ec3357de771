// Package content makes results of what handlers answer. Whatever a handler's other end
// sends goes through one [Collector], which holds a bounded part of it: the beginning and
// the end of a text, or up to [MaxStructured] of what may be content blocks in the API's
// own form. So a call's memory is bounded, whoever is at the other end.
package content
