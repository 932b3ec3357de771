// Package sdkrunner is a small program's worth around the official SDK's
// SessionToolRunner: one runner a session, all on one client whose HTTP pool is
// as large as it needs to be, so that the runner is at its best.
package sdkrunner
