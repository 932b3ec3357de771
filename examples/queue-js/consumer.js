// Works off the calls of the tool render that wait in the job queue. Start as many
// as you like, each call goes to one of them:
//
//   npm install && node consumer.js
//
// NATS_URL names the server (127.0.0.1:4222 if it is empty), NATS_TOKEN its token,
// and NATS_DOMAIN is toolhand where it is a worker's nats.listen. docs/queue.md has
// the protocol; its steps are numbered here.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { jetstream } from "@nats-io/jetstream";
import { connect, headers, nuid } from "@nats-io/transport-node";

const tool = "render";
const atOnce = 4; // so many calls run in this process

// By nats.listen an inbox is read by its user alone: a name that nobody can guess.
const user = process.env.NATS_DOMAIN && randomBytes(16).toString("hex");
const nc = await connect({
  servers: process.env.NATS_URL || "127.0.0.1:4222",
  token: process.env.NATS_TOKEN,
  ...(user && { user, inboxPrefix: `_INBOX_${user}` }),
  maxReconnectAttempts: -1,
});
const js = jetstream(nc, process.env.NATS_DOMAIN ? { domain: process.env.NATS_DOMAIN } : {});

// Nobody waits any more for a call that is over.
const running = new Map(); // what stops each call, by its Tool-Use-Id
nc.subscribe("toolhand.cancel.*", {
  callback: (_, msg) => running.get(msg.headers?.get("Tool-Use-Id"))?.abort(),
});

let leaving = false;
process.once("SIGINT", () => (leaving = true));

// 1. The worker makes the consumer with the first call of the tool.
async function consumer() {
  while (!leaving) {
    try {
      return await js.consumers.get("TOOLHAND_JOBS", tool);
    } catch {
      await sleep(1000);
    }
  }
}

// 2. One job that can begin at once is asked for, no more.
async function takeJobs() {
  let jobs;
  while (!leaving) {
    try {
      jobs ??= await consumer();
      const job = await jobs?.next({ expires: 5000 });
      if (job) await run(job, (await jobs.info(true)).config.ack_wait / 1e6);
    } catch (failure) {
      console.error(failure.message);
      jobs = undefined; // it is looked for again
      await sleep(1000);
    }
  }
}

// run does one job. Its input has been checked against the schema.
async function run(job, ackWait) {
  const id = job.headers?.get("Tool-Use-Id");
  const left = Date.parse(job.headers?.get("Tool-Deadline")) - Date.now();
  if (!id || Number.isNaN(left)) return job.term(); // it is no call
  if (left <= 0) return job.ack(); // 3. who is late does not begin
  const stop = new AbortController();
  running.set(id, stop);
  const late = setTimeout(() => stop.abort(), Math.min(left, 2 ** 31 - 1));
  const goesOn = setInterval(() => job.working(), ackWait / 3); // 5. the queue hears that it goes on
  try {
    // 4. A call that may not run twice is begun by who says so first.
    await claim(job);
    const [text, failure] = await render(job.json(), stop.signal).then((text) => [text], (failure) => ["", failure]);
    // 6, 7. First the result, and when the server has it the end of the job.
    if (!stop.signal.aborted) await handIn(job, text, failure);
    await job.ackAck();
  } catch (failure) {
    console.error(`${id} is left alone: ${failure.message}`);
  } finally {
    clearInterval(goesOn);
    clearTimeout(late);
    running.delete(id);
  }
}

// claim says that the call begins here. It throws if somebody has said so.
async function claim(job) {
  const expected = job.headers.get("Tool-Claim");
  if (!expected) return; // it may run twice
  const h = headers();
  h.set("Toolhand-Outcome", "begun");
  h.set("Nats-Expected-Last-Subject-Sequence", expected);
  h.set("Nats-Msg-Id", `claim.${nuid.next()}`); // said twice, it counts once
  await js.publish(job.headers.get("Tool-Result-Subject"), "", { headers: h });
}

// handIn publishes what the call came to until the server has it.
async function handIn(job, text, failure) {
  const h = headers();
  h.set("Nats-Msg-Id", job.headers.get("Nats-Msg-Id"));
  if (failure) {
    h.set("Nats-Service-Error", failure.message);
    h.set("Nats-Service-Error-Code", "500");
  }
  for (let tries = 1; ; tries++) {
    try {
      return await js.publish(job.headers.get("Tool-Result-Subject"), text, { headers: h, timeout: 2000 });
    } catch (refused) {
      if (tries === 30) throw refused;
      await sleep(1000);
    }
  }
}

// render is the tool itself.
async function render({ title, lines }, signal) {
  if (!title) throw new Error("the page has no title: give one");
  const page = [title, "=".repeat(title.length)];
  for (const line of lines) {
    signal.throwIfAborted();
    page.push(`- ${line}`);
  }
  return page.join("\n");
}

console.log("ready");
await Promise.all(Array.from({ length: atOnce }, takeJobs));
await nc.drain();
