// Package worker puts a worker together: the one place where processes, servers,
// job queue, tools, bus, journal and API client are opened, reloaded, asked and closed.
//
// [Open] opens what the [Purpose] needs. A worker for [Sessions] is the daemon; the
// demo and the benchmark run the same one. One for [Fleet] offers its tools to other
// workers over NATS. One for a [Command] serves nothing: the command shows its tools,
// asks their handlers and calls them. What the two that serve have in common is
// [Worker]'s: the admin address, the tools in force and their limits, what is counted.
// What differs is a service each.
//
// What a command needs of a worker that runs elsewhere is here too: [Ask] its admin
// address, [FindCall] in its journal.
//
// Errors that mean a wrong configuration are a [UsageError]; exit codes, signals and
// what is printed are cmd/worker's.
package worker
