// Package mcp runs calls as tools/call of MCP servers, which are programs or HTTP services.
// All tools of one server share its process or session; [Servers] owns them.
package mcp
