# Sourced by the tools of the demo: each start leaves a line behind, to be counted.
printf '%s %s\n' "$TOOL_USE_ID" "$TOOL_NAME" >>../starts
