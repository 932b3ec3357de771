#!/bin/sh
. ./demo/note.sh
echo "v1.4.0 is tagged"
