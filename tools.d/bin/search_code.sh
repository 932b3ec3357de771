#!/bin/sh
. ./lib/tool.sh

pattern=$(field pattern)
dir=$(field dir)
folder=$(beneath sample "${dir:-.}")
[ -d "$folder" ] || fail "$dir is not a folder"
cd "$folder"
if found=$(grep -rnFI -e "$pattern" .); then
	printf '%s\n' "$found" | head -n 200
elif [ $? -eq 1 ]; then
	echo "no matches"
else
	fail "the search broke off"
fi
