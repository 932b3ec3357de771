# Prints the value of one top-level key of a JSON object, as text: strings with
# their escapes resolved, anything else as it is written. Ends with 3 if the key
# is not there and 2 if the text is not an object.
#
#   LC_ALL=C awk -v want=path -f lib/json.awk <input.json
#
# It trusts the text to be valid JSON: the worker has checked the input against
# the tool's schema before a tool starts. LC_ALL=C makes every awk work on bytes.

{ text = text $0 "\n" }

END {
	size = length(text); at = 1
	blank()
	if (substr(text, at++, 1) != "{") exit 2
	while (1) {
		blank()
		c = substr(text, at, 1)
		if (c == ",") { at++; continue }
		if (c != "\"") exit (c == "}" ? 3 : 2)
		key = string(0)
		blank(); at++; blank()
		if (substr(text, at, 1) == "\"") {
			string(key == want ? 1 : 2)
			if (key == want) exit 0
		} else {
			value = other()
			if (key == want) { printf "%s", value; exit 0 }
		}
	}
}

function blank() { while (at <= size && index(" \t\r\n", substr(text, at, 1))) at++ }

# string reads the string at the cursor and gives it (mode 0), prints it piece by
# piece, so that a long one costs no copies (1), or skips it (2).
function string(mode,    out, from, c) {
	from = ++at
	while (at <= size) {
		c = substr(text, at, 1)
		if (c == "\"") {
			out = piece(out, substr(text, from, at - from), mode)
			at++
			return out
		}
		if (c == "\\") {
			out = piece(out, substr(text, from, at - from), mode)
			out = piece(out, escaped(), mode)
			from = at
		} else at++
	}
	exit 2
}

function piece(out, more, mode) {
	if (mode == 0) return out more
	if (mode == 1) printf "%s", more
	return ""
}

function escaped(    c, code, low) {
	c = substr(text, at + 1, 1)
	at += 2
	if (c == "n") return "\n"
	if (c == "t") return "\t"
	if (c == "r") return "\r"
	if (c == "b") return "\b"
	if (c == "f") return "\f"
	if (c != "u") return c
	code = hex(substr(text, at, 4)); at += 4
	if (code >= 55296 && code < 56320 && substr(text, at, 2) == "\\u") {
		low = hex(substr(text, at + 2, 4))
		if (low >= 56320 && low < 57344) {
			at += 6
			return utf8(65536 + (code - 55296) * 1024 + low - 56320)
		}
	}
	# Half a pair, and the NUL that no shell can hold.
	if (code == 0 || code >= 55296 && code < 57344) code = 65533
	return utf8(code)
}

function hex(digits,    i, n) {
	for (i = 1; i <= length(digits); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
	return n
}

function utf8(n) {
	if (n < 128) return sprintf("%c", n)
	if (n < 2048) return sprintf("%c%c", 192 + int(n / 64), 128 + n % 64)
	if (n < 65536) return sprintf("%c%c%c", 224 + int(n / 4096), 128 + int(n / 64) % 64, 128 + n % 64)
	return sprintf("%c%c%c%c", 240 + int(n / 262144), 128 + int(n / 4096) % 64, 128 + int(n / 64) % 64, 128 + n % 64)
}

# other reads a number, a word, or a whole object or list.
function other(    from, depth, c) {
	from = at
	while (at <= size) {
		c = substr(text, at, 1)
		if (c == "\"") { string(2); continue }
		if (c == "{" || c == "[") depth++
		if (c == "}" || c == "]") {
			if (depth == 0) break
			depth--
		}
		if (depth == 0 && index(", \t\r\n", c)) break
		at++
	}
	return substr(text, from, at - from)
}
