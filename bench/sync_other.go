//go:build !linux

package main

import "os"

// dataSync brings a file to the disk.
func dataSync(f *os.File) error { return f.Sync() }
