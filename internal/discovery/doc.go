// Package discovery asks NATS micro services which tools they announce.
//
// One request to $SRV.INFO makes every service answer; what comes within a window
// is one [registry.Round]. What is made of it is the registry's: this package only
// asks, reads the answers within bounds of size and number, and asks again. A round
// in which the connection was lost, or which could not be asked, is none: nobody's
// silence can be told from our own.
package discovery
