#!/bin/sh
# Takes long enough to be killed in the middle.
. ./demo/note.sh
sleep 30
echo "v1.4.0 is deployed"
