// Package upstream talks to the Managed Agents API: it follows a session's
// event stream, reads its history, and sends results.
//
// The official SDK makes the requests (credentials, URLs, headers, errors,
// retries of reads); this package adds what a daemon needs around it:
//
//   - a bound in wall-clock time on every request, its body included, and on
//     the silence of a stream. No byte that trickles in extends the first kind;
//   - one attempt for a send. Its error says whether the API surely did not
//     take it, refused it, or may have taken it ([Error.Kind]);
//   - events decoded only as far as a worker needs them, a call's input kept
//     byte for byte;
//   - a budget of requests that the whole process shares. Sends count, and
//     never wait for it;
//   - a gate that a refused credential closes for every session at once, and
//     that one probe at a time tries to open again.
//
// Nothing here knows what a call's state is; that is package loop's.
package upstream
