// A tool that answers on a NATS subject. Start as many as you like; the queue
// group hands each call to one of them:
//
//   npm install && node handler.js
//
// NATS_URL names the server (127.0.0.1:4222 if it is empty), NATS_TOKEN its token,
// and NATS_USER is a name of its own where the server is a worker's nats.listen:
// nobody else reads its inbox then.
import { connect, headers } from "@nats-io/transport-node";

const user = process.env.NATS_USER;
const nc = await connect({
  servers: process.env.NATS_URL || "127.0.0.1:4222",
  token: process.env.NATS_TOKEN,
  ...(user && { user, inboxPrefix: `_INBOX_${user}` }),
  maxReconnectAttempts: -1,
});

// Nobody waits any more for a call that is over: work that takes long looks at
// the signal of its AbortController.
const running = new Map();
nc.subscribe("toolhand.cancel.*", {
  callback: (_, msg) => running.get(msg.headers?.get("Tool-Use-Id"))?.abort(),
});

nc.subscribe("toolhand.tool.slugify", {
  queue: "slugify",
  callback: async (err, msg) => {
    if (err) return console.error(err);
    const id = msg.headers?.get("Tool-Use-Id");
    const stop = new AbortController();
    running.set(id, stop);
    try {
      msg.respond(await slugify(msg.json(), stop.signal));
    } catch (failure) {
      const h = headers(); // how NATS services tell an error
      h.set("Nats-Service-Error", failure.message);
      h.set("Nats-Service-Error-Code", "500");
      msg.respond("", { headers: h });
    } finally {
      running.delete(id);
    }
  },
});

async function slugify({ title }) {
  const slug = title.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
  if (!slug) throw new Error("nothing is left of this title: give one with letters or digits");
  return slug;
}

await nc.flush(); // from here on calls arrive
console.log("ready");
await nc.closed();
