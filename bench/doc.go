// Command bench measures the worker beside the official SDK's runner and the
// leanest loop that can be written by hand, each a process of its own, against the
// simulated API, a process of its own too. All are this program in another role:
//
//	sim       the API and what the agents in it do (package stage)
//	limit     the leanest loop (package limit)
//	sdk       the SDK's SessionToolRunner (package sdkrunner)
//	worker    the worker, its journal off, interval or always (package shipped)
//	handlers  each kind of handler beside the same call made by hand
//
// A visit is a pair of fresh processes, the API and one competitor, and all of
// the competitor's figures. Visits take turns: each round visits every competitor,
// in an order that moves on, and a figure is the median of its rounds. A visit
// during which other processes used the machine is made again, so often and no
// more; how often is printed.
//
// The targets are data (targets.go). A target that is missed is printed, and is no
// failure of the program.
package main
