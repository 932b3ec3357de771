// Package stage is the benchmark's other side: the simulated API as a process of
// its own, and what the agents in it do. It measures what a competitor is judged
// by, in one place and by one clock: from the moment a call is emitted to the
// moment its result is accepted.
//
// A round of calls is either paced (each session makes a turn every so often,
// spread over the sessions) or not: then each session makes its next turn when
// the last one is answered, which measures how much gets through.
package stage
