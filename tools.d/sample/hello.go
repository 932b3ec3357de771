//go:build sample

// Package sample is what the example tools read, search and test.
package sample

// Hello greets by name, and everybody if there is none.
func Hello(name string) string {
	if name == "" {
		name = "everybody"
	}
	return "Hello, " + name + "!"
}
