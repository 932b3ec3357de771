# What the example tools share; they source it. They need a POSIX shell, awk and
# the usual small commands, and start in tools.d.
set -eu

input=$(cat)

# field KEY prints a top-level field of the input, nothing if it is not there.
field() {
	printf '%s' "$input" | LC_ALL=C awk -v want="$1" -f lib/json.awk || [ $? -eq 3 ]
}

# number KEY DEFAULT prints a whole number: JSON may write 100 as 1e2.
number() {
	field "$1" | awk -v fallback="$2" '{ n = $1 } END { printf "%d", n == "" ? fallback : n }'
}

# fail TEXT ends the tool; the agent sees the text and the status.
fail() {
	printf '%s\n' "$1" >&2
	exit 1
}

# beneath ROOT PATH prints the real path, and fails if it is not beneath ROOT:
# absolute, with .. in it, or a symbolic link that leads out.
beneath() {
	case "/$2/" in
	//*) fail "expected a relative path, found $2" ;;
	*/../*) fail "expected a path without .., found $2" ;;
	esac
	root=$(realpath "$1")
	real=$(realpath "$1/$2" 2>/dev/null) && [ -e "$real" ] || fail "there is no $2"
	case "$real/" in
	"$root"/*) printf '%s' "$real" ;;
	*) fail "$2 leads out of the folder" ;;
	esac
}
