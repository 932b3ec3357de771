package sim

import "encoding/json"

// sendShape is the body of a send of these events.
func sendShape(events map[string]shape) shape {
	return shape{"events": required(arrayOf(byType(events)))}
}

// eventShapes are the events that a client may send.
func eventShapes() map[string]shape {
	id := required(textUpTo(128))
	result := func(ref string) shape {
		return shape{
			"type": required(isText), ref: id,
			"content":  optional(arrayOf(byType(resultBlocks()))),
			"is_error": optional(nullable(isBool)),
		}
	}
	return map[string]shape{
		"user.message":            {"type": required(isText), "content": required(arrayOf(byType(messageBlocks())))},
		"system.message":          {"type": required(isText), "content": required(arrayOf(byType(textOnly())))},
		"user.interrupt":          {"type": required(isText), "session_thread_id": optional(nullable(isString))},
		"user.custom_tool_result": result("custom_tool_use_id"),
		"user.tool_result":        result("tool_use_id"),
		"user.tool_confirmation": {
			"type": required(isText), "tool_use_id": id,
			"result":       required(oneOf("allow", "deny")),
			"deny_message": optional(nullable(stringUpTo(10_000))),
		},
	}
}

func textOnly() map[string]shape {
	return map[string]shape{"text": {"type": required(isText), "text": required(isText)}}
}

// messageBlocks are the content blocks of a message.
func messageBlocks() map[string]shape {
	blocks := textOnly()
	blocks["image"] = shape{"type": required(isText), "source": required(byType(sources(false)))}
	blocks["document"] = shape{
		"type": required(isText), "source": required(byType(sources(true))),
		"title": optional(nullable(isString)), "context": optional(nullable(isString)),
	}
	return blocks
}

// resultBlocks are the content blocks of a result.
func resultBlocks() map[string]shape {
	blocks := messageBlocks()
	blocks["search_result"] = shape{
		"type": required(isText), "source": required(isText), "title": required(isText),
		"content":   required(arrayOf(byType(textOnly()))),
		"citations": required(objectOf(shape{"enabled": required(isBool)})),
	}
	return blocks
}

// sources are where the bytes of an image or document come from.
func sources(document bool) map[string]shape {
	kind := required(isText)
	out := map[string]shape{
		"base64": {"type": kind, "media_type": required(isText), "data": required(isText)},
		"url":    {"type": kind, "url": required(isText)},
		"file":   {"type": kind, "file_id": required(isText)},
	}
	if document {
		out["text"] = shape{"type": kind, "media_type": required(oneOf("text/plain")), "data": required(isText)}
	}
	return out
}

// customTool checks a tool of an agent's update.
func customTool(path string, v json.RawMessage) string {
	_, problem := members(path, v, shape{
		"type": required(oneOf("custom")), "name": required(textUpTo(128)),
		"description": required(isText), "input_schema": required(inputSchema),
	})
	return problem
}

func inputSchema(path string, v json.RawMessage) string {
	if problem := isObject(path, v); problem != "" {
		return problem
	}
	var head struct{ Type string }
	if json.Unmarshal(v, &head) != nil || head.Type != "object" {
		return at(join(path, "type"), "must be object")
	}
	return ""
}
