#!/bin/sh
# The tests of the sample package: each checks one thing about its files.
failed=0

check() {
	name=$1
	shift
	# A real compiler would take its time too.
	sleep 0.1
	if "$@" >/dev/null 2>&1; then
		[ "${VERBOSE:-}" = true ] && echo "--- PASS: $name"
	else
		failed=$((failed + 1))
		echo "--- FAIL: $name"
	fi
}

check package_clause grep -q '^package sample$' hello.go
check hello_is_exported grep -q '^func Hello(name string) string' hello.go
check hello_is_tested grep -q '^func TestHello(' hello_test.go
check notes_end_with_newline test -z "$(tail -c 1 notes.txt)"

if [ "$failed" -gt 0 ]; then
	echo "FAIL: $failed of 4 checks"
	exit 1
fi
echo "ok: 4 checks"
