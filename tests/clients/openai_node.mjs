// OpenAI's package for Node against a server: every method of assistants, threads, messages, runs.
//
//     node openai_node.mjs FOLDER_OF_NODE_MODULES BASE_URL BUSY_BASE_URL
//
// Each check prints a line of JSON, {"check": name, "error": null or a stack}. As openai_python.py.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [folder, base, busyBase] = process.argv.slice(2);
const { default: OpenAI } = createRequire(`${folder}/`)("openai");

const client = new OpenAI({ baseURL: base, apiKey: "none" });
const busy = new OpenAI({ baseURL: busyBase, apiKey: "none" });
const { assistants, threads } = client.beta;

const ADD = {
  type: "function",
  function: {
    name: "add",
    parameters: { type: "object", properties: { a: { type: "integer" } } },
  },
};
const ADDING = 'call add {"a": 1}';
const SLOW = `[[slow 0.02]] ${"on and on ".repeat(300)}`;
const BEGINNING = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"];
const SPEAKING = [
  "thread.run.step.created",
  "thread.run.step.in_progress",
  "thread.message.created",
  "thread.message.in_progress",
  "thread.message.delta",
  "thread.message.completed",
  "thread.run.step.completed",
  "thread.run.completed",
];
const GOING_ON = ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"];

const user = (content) => ({ role: "user", content });
const text = (message) => message.content.map((part) => part.text.value).join("");
const newAssistant = (more) => assistants.create({ model: "calling", name: "Bob", ...more });
const newThread = (...contents) => threads.create({ messages: contents.map(user) });
const outputsOf = (run) =>
  run.required_action.submit_tool_outputs.tool_calls.map((call) => ({
    tool_call_id: call.id,
    output: "three",
  }));

async function all(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

/** Of several deltas in a row one: a busy machine sends them together. */
async function names(stream) {
  const events = (await all(stream)).map((event) => event.event);
  return events.filter((name, index) => name !== events[index - 1]);
}

async function waiting() {
  const bob = await newAssistant({ tools: [ADD] });
  const thread = await newThread(ADDING);
  const run = await threads.runs.createAndPoll(thread.id, { assistant_id: bob.id });
  assert.equal(run.status, "requires_action");
  return run;
}

const CHECKS = {
  async assistants() {
    const made = await newAssistant({ instructions: "Be kind.", tools: [ADD], temperature: 0.5 });
    assert.deepEqual(await assistants.retrieve(made.id), made);
    assert.equal(made.temperature, 0.5);
    const changed = await assistants.update(made.id, { name: "Amy", tools: [] });
    assert.deepEqual([changed.id, changed.name, changed.tools], [made.id, "Amy", []]);
    const other = await newAssistant();
    const listed = (await all(assistants.list({ order: "asc", limit: 1 }))).map(({ id }) => id);
    assert.ok(listed.indexOf(made.id) < listed.indexOf(other.id));
    assert.equal((await assistants.delete(made.id)).deleted, true);
    await assert.rejects(assistants.retrieve(made.id), OpenAI.NotFoundError);
  },

  async threads() {
    const made = await threads.create({ metadata: { a: "1" } });
    assert.deepEqual(await threads.retrieve(made.id), made);
    const changed = await threads.update(made.id, { metadata: { a: "2" } });
    assert.deepEqual(changed.metadata, { a: "2" });
    assert.equal((await threads.delete(made.id)).object, "thread.deleted");
    await assert.rejects(threads.retrieve(made.id), OpenAI.NotFoundError);
  },

  async messages() {
    const thread = await newThread(...Array.from({ length: 25 }, (_, number) => `${number}`));
    const ids = { thread_id: thread.id };
    const made = await threads.messages.create(thread.id, user("hi"));
    assert.deepEqual([made.status, text(made)], ["completed", "hi"]);
    assert.deepEqual(await threads.messages.retrieve(made.id, ids), made);
    const metadata = { a: "b" };
    const changed = await threads.messages.update(made.id, { ...ids, metadata });
    assert.deepEqual(changed.metadata, metadata);
    assert.equal((await threads.messages.delete(made.id, ids)).deleted, true);
    const listed = await all(threads.messages.list(thread.id, { order: "asc", limit: 10 }));
    assert.deepEqual(listed.map(text), Array.from({ length: 25 }, (_, number) => `${number}`));
    const page = await threads.messages.list(thread.id);
    assert.equal(page.data.length, 20);
    assert.equal(text(page.data[0]), "24");
  },

  async createAndPoll() {
    const bob = await newAssistant();
    const thread = await newThread("hello there");
    const run = await threads.runs.createAndPoll(thread.id, { assistant_id: bob.id });
    assert.deepEqual([run.status, run.usage.total_tokens], ["completed", 4]);
    const [reply] = (await threads.messages.list(thread.id, { run_id: run.id })).data;
    assert.deepEqual([text(reply), reply.status], ["hello there", "completed"]);
  },

  async createPollListRetrieveAndUpdate() {
    const bob = await newAssistant();
    const thread = await newThread("hello");
    const ids = { thread_id: thread.id };
    const made = await threads.runs.create(thread.id, { assistant_id: bob.id });
    const run = await threads.runs.poll(made.id, ids);
    assert.equal(run.status, "completed");
    assert.deepEqual(await threads.runs.retrieve(run.id, ids), run);
    const metadata = { a: "b" };
    const changed = await threads.runs.update(run.id, { ...ids, metadata });
    assert.deepEqual(changed.metadata, metadata);
    assert.deepEqual((await all(threads.runs.list(thread.id))).map(({ id }) => id), [run.id]);
    const [step] = await all(threads.runs.steps.list(run.id, ids));
    assert.equal(step.step_details.type, "message_creation");
    const again = await threads.runs.steps.retrieve(step.id, { ...ids, run_id: run.id });
    assert.deepEqual(again, step);
  },

  async cancel() {
    const bob = await newAssistant();
    const thread = await newThread(SLOW);
    const ids = { thread_id: thread.id };
    const run = await threads.runs.create(thread.id, { assistant_id: bob.id });
    const second = threads.runs.create(thread.id, { assistant_id: bob.id });
    await assert.rejects(second, OpenAI.BadRequestError);
    assert.equal((await threads.runs.cancel(run.id, ids)).status, "cancelling");
    assert.equal((await threads.runs.poll(run.id, ids)).status, "cancelled");
  },

  async submitToolOutputs() {
    const run = await waiting();
    const ids = { thread_id: run.thread_id };
    await threads.runs.submitToolOutputs(run.id, { ...ids, tool_outputs: outputsOf(run) });
    assert.equal((await threads.runs.poll(run.id, ids)).status, "completed");
    const [reply] = (await threads.messages.list(run.thread_id)).data;
    assert.equal(text(reply), "It is three.");
  },

  async submitToolOutputsAndPoll() {
    const run = await waiting();
    const sent = { thread_id: run.thread_id, tool_outputs: outputsOf(run) };
    const done = await threads.runs.submitToolOutputsAndPoll(run.id, sent);
    assert.equal(done.status, "completed");
  },

  async submitToolOutputsStream() {
    const run = await waiting();
    const sent = { thread_id: run.thread_id, tool_outputs: outputsOf(run) };
    const stream = threads.runs.submitToolOutputsStream(run.id, sent);
    assert.deepEqual(await names(stream), [...GOING_ON, ...SPEAKING]);
    assert.equal((await stream.finalRun()).status, "completed");
  },

  async streamWithHandlers() {
    const bob = await newAssistant();
    const thread = await newThread("hello there you");
    const told = [];
    let said = "";
    const stream = threads.runs
      .stream(thread.id, { assistant_id: bob.id })
      .on("runStepCreated", (step) => told.push(`step created: ${step.type}`))
      .on("messageCreated", () => told.push("message created"))
      .on("textCreated", () => told.push("text created"))
      .on("textDelta", (delta) => (said += delta.value))
      .on("textDone", (content) => told.push(`text done: ${content.value}`))
      .on("messageDone", (message) => told.push(`message ${message.status}`))
      .on("runStepDone", (step) => told.push(`step ${step.status}`));
    assert.equal((await stream.finalRun()).status, "completed");
    assert.deepEqual(told, [
      "step created: message_creation",
      "message created",
      "text created",
      "text done: hello there you",
      "message completed",
      "step completed",
    ]);
    assert.equal(said, "hello there you");
    assert.equal(text((await stream.finalMessages())[0]), "hello there you");
  },

  async streamOfCalls() {
    const bob = await newAssistant({ tools: [ADD] });
    const thread = await newThread(ADDING);
    const told = [];
    const stream = threads.runs
      .stream(thread.id, { assistant_id: bob.id })
      .on("toolCallCreated", (call) => told.push(`created: ${call.function.name}`))
      .on("toolCallDone", (call) => told.push(`done: ${call.function.arguments}`));
    const run = await stream.finalRun();
    assert.deepEqual(told, ["created: add", 'done: {"a": 1}']);
    assert.equal(run.required_action.submit_tool_outputs.tool_calls.length, 1);
  },

  async streamAsEvents() {
    const bob = await newAssistant();
    const thread = await newThread("hello");
    const asked = { assistant_id: bob.id, stream: true };
    const events = await threads.runs.create(thread.id, asked);
    assert.deepEqual(await names(events), [...BEGINNING, ...SPEAKING]);
  },

  async createAndRun() {
    const bob = await newAssistant();
    const asked = { assistant_id: bob.id, thread: { messages: [user("hello there")] } };
    const run = await threads.createAndRun(asked);
    const done = await threads.runs.poll(run.id, { thread_id: run.thread_id });
    assert.equal(done.status, "completed");
    assert.equal((await threads.createAndRunPoll(asked)).status, "completed");
    const stream = threads.createAndRunStream(asked);
    assert.deepEqual(await names(stream), ["thread.created", ...BEGINNING, ...SPEAKING]);
  },

  async finalErrorsAreTypedAndAskedOnce() {
    let asked = 0;
    const counting = (...sent) => {
      asked += 1;
      return fetch(...sent);
    };
    const api = new OpenAI({ baseURL: base, apiKey: "none", maxRetries: 3, fetch: counting });
    const thread = await newThread();
    const of = { assistant_id: "jan", model: "unknown" };
    for (const [kind, act] of [
      [OpenAI.NotFoundError, () => api.beta.threads.retrieve("none")],
      [
        OpenAI.NotFoundError,
        () =>
          api.chat.completions.create({ model: "nope", messages: [user("hello")], stream: true }),
      ],
      [OpenAI.BadRequestError, () => api.beta.assistants.create({ tools: [{ type: "x" }] })],
      [OpenAI.UnprocessableEntityError, () => api.beta.threads.runs.create(thread.id, of)],
    ]) {
      asked = 0;
      await assert.rejects(act, (error) => {
        assert.ok(error instanceof kind, `${error}`);
        assert.ok(error.requestID);
        return true;
      });
      assert.equal(asked, 1);
    }
  },

  async aBusyServerIsAskedAgain() {
    const asked = { model: "calling", messages: [user("hello")], max_tokens: 8 };
    const slow = { ...asked, messages: [user(SLOW)], max_tokens: 300, stream: true };
    const stream = await busy.chat.completions.create(slow);
    await stream[Symbol.asyncIterator]().next();
    const again = busy.chat.completions.create(asked, { maxRetries: 0 });
    await assert.rejects(again, (error) => {
      assert.ok(error instanceof OpenAI.RateLimitError, `${error}`);
      assert.ok(Number(error.headers.get("retry-after")) >= 1);
      return true;
    });
    stream.controller.abort();
  },
};

for (const [check, run] of Object.entries(CHECKS)) {
  let error = null;
  try {
    await run();
  } catch (caught) {
    error = caught.stack ?? `${caught}`;
  }
  console.log(JSON.stringify({ check, error }));
}
