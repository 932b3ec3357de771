#!/bin/sh
. ./lib/tool.sh

lines=$(field text | awk 'END { print NR }')
words=$(field text | wc -w)
# Every character of UTF-8 has exactly one byte that continues no other.
characters=$(field text | LC_ALL=C tr -d '\200-\277' | wc -c)
printf 'lines: %d\nwords: %d\ncharacters: %d\n' "$lines" "$words" "$characters"
