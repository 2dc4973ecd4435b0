// The stock openai package, unchanged, against the OpenAI door.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { closed, guarded, tellsTheWay, unknown } from "./stage.js";

const client = new OpenAI({ maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "Hello" }];
const skip = closed ? false : "SALLYPORT_MODEL_CLOSED names no model that may only be read";

test("models are those one may read", async () => {
  const listed = [];
  for await (const model of client.models.list()) listed.push(model.id);
  assert.ok(listed.includes(guarded));
  assert.ok(!listed.includes(unknown));
});

test("chat", async () => {
  const answer = await client.chat.completions.create({ model: guarded, messages, max_tokens: 16 });
  assert.ok(answer.choices[0].message.content);
});

test("stream", async () => {
  let text = "";
  const stream = await client.chat.completions.create({ model: guarded, messages, max_tokens: 16, stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  assert.ok(text);
});

test("completion", async () => {
  const answer = await client.completions.create({ model: guarded, prompt: "Once", max_tokens: 16 });
  assert.ok(answer.choices[0].text);
});

test("embeddings", async () => {
  // This client asks for base64 unless told otherwise, and decodes it itself.
  const answer = await client.embeddings.create({ model: guarded, input: ["one", "two"] });
  assert.equal(answer.data.length, 2);
  assert.ok(answer.data[0].embedding.length > 1);
  assert.ok(answer.data[0].embedding.every(Number.isFinite));
});

test("responses", async () => {
  const answer = await client.responses.create({ model: guarded, input: "Hello", max_output_tokens: 16 });
  assert.ok(answer.output_text);
});

test("an unknown model is not found", async () => {
  await assert.rejects(client.chat.completions.create({ model: unknown, messages }), OpenAI.NotFoundError);
});

test("a denial in our words", { skip }, async () => {
  const denied = client.chat.completions.create({ model: closed, messages });
  await assert.rejects(denied, (error) => error instanceof OpenAI.PermissionDeniedError && tellsTheWay(error));
});

test("a denial of a stream in our words", { skip }, async () => {
  const denied = client.chat.completions.create({ model: closed, messages, stream: true });
  await assert.rejects(denied, (error) => error instanceof OpenAI.PermissionDeniedError && tellsTheWay(error));
});

test("a wrong key is refused", async () => {
  const stranger = new OpenAI({ apiKey: "sk-wrong", maxRetries: 0 });
  await assert.rejects(async () => await stranger.models.list(), OpenAI.AuthenticationError);
});
