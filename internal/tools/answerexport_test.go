package tools

// Answer makes the result of a handler's whole answer: content blocks where raw
// is a JSON object with an array "content" of valid blocks, else one text. Other
// members of that object than "content" and "is_error" are ignored. isError marks
// the result as a failure whatever raw says. max bounds the text in bytes, as
// [Common.MaxResultBytes] does; zero means its default.
func Answer(raw []byte, isError bool, max int) Result {
	c := newCollector(max)
	c.Write(raw)
	return c.result(isError)
}
