// The stock @huggingface/hub, unchanged, against the Hugging Face door.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as hub from "@huggingface/hub";
import { accessToken, guarded, hubUrl, open, tellsTheWay, unknown } from "./stage.js";

const at = { hubUrl, accessToken };

const files = async (repo) => {
  const all = [];
  for await (const file of hub.listFiles({ repo, recursive: true, ...at })) if (file.type === "file") all.push(file);
  return all;
};

const weightsOf = async (repo) => (await files(repo)).find((file) => file.path.endsWith(".safetensors"));

test("whoami names the person", async () => {
  assert.ok((await hub.whoAmI(at)).name);
});

test("model info pins a commit", async () => {
  const info = await hub.modelInfo({ name: open, additionalFields: ["sha"], ...at });
  assert.match(info.sha, /^[0-9a-f]{40}$/);
});

test("a file", async () => {
  const blob = await hub.downloadFile({ repo: open, path: "config.json", ...at });
  assert.equal(typeof JSON.parse(await blob.text()), "object");
});

test("weights arrive whole", async () => {
  const weights = await weightsOf(open);
  const blob = await hub.downloadFile({ repo: open, path: weights.path, xet: false, ...at });
  const bytes = Buffer.from(await blob.arrayBuffer());
  assert.equal(bytes.length, weights.size);
  if (weights.lfs) assert.equal(createHash("sha256").update(bytes).digest("hex"), weights.lfs.oid);
});

test("a range of the weights", async () => {
  const weights = await weightsOf(open);
  const blob = await hub.downloadFile({ repo: open, path: weights.path, ...at });
  const part = Buffer.from(await blob.slice(8, 108).arrayBuffer());
  assert.equal(part.length, 100);
  assert.equal(part[0], "{".charCodeAt(0)); // the header of a safetensors file
});

test("no way around over xet", async () => {
  const weights = await weightsOf(open);
  assert.equal(weights.xetHash, undefined);
  const info = await hub.fileDownloadInfo({ repo: open, path: weights.path, ...at });
  assert.equal(info.xet, undefined);
  assert.equal(info.size, weights.size);
});

test("a missing file is told apart", async () => {
  assert.equal(await hub.downloadFile({ repo: open, path: "no-such-file.json", ...at }), null);
});

test("an unknown model is not found", async () => {
  await assert.rejects(hub.modelInfo({ name: unknown, ...at }), (error) => error.statusCode === 404);
});

test("a wrong token is refused", async () => {
  await assert.rejects(hub.whoAmI({ hubUrl, accessToken: `hf_${"x".repeat(34)}` }), (error) => error.statusCode === 401);
});

test("the tokenizer of a guarded model", async () => {
  const blob = await hub.downloadFile({ repo: guarded, path: "tokenizer.json", ...at });
  assert.equal(typeof JSON.parse(await blob.text()), "object");
});

test("guarded weights are denied in our words", async () => {
  const weights = await weightsOf(guarded);
  const pull = async () => (await hub.downloadFile({ repo: guarded, path: weights.path, ...at })).arrayBuffer();
  await assert.rejects(pull(), (error) => error.statusCode === 403 && tellsTheWay(error));
});
