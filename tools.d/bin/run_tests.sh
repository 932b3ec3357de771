#!/bin/sh
. ./lib/tool.sh

package=$(field package)
folder=$(beneath . "$package")
[ -f "$folder/check.sh" ] || fail "$package has no tests: expected a folder with a check.sh, such as sample"
VERBOSE=$(field verbose)
export VERBOSE
cd "$folder"
exec sh ./check.sh
