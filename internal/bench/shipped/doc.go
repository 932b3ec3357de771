// Package shipped puts the worker together as cmd/worker does, of the same
// packages and with the same settings, but for two things that the benchmark needs
// and no manifest can say: its tools are Go functions, as those of the other
// competitors are, and its journal can be off (in memory).
package shipped
