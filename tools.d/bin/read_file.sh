#!/bin/sh
. ./lib/tool.sh

path=$(field path)
file=$(beneath . "$path")
[ -f "$file" ] || fail "$path is not a file"
head -n "$(number max_lines 200)" "$file"
