// What the suites share: the environment that the harness sets, and what every denial must tell a person.
import assert from "node:assert/strict";

const set = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these suites through e2e_test.go`);
  return value;
};

export const open = set("SALLYPORT_MODEL_OPEN"); // this person may read and pull it
export const guarded = set("SALLYPORT_MODEL_GUARDED"); // this person may call it and read its tokenizer, not pull its weights
export const closed = process.env.SALLYPORT_MODEL_CLOSED; // this person may read its card and nothing else
export const unknown = `${open.split("/")[0]}/no-such-model`;
export const hubUrl = set("HF_ENDPOINT");
export const accessToken = set("HF_TOKEN");
set("OPENAI_BASE_URL");
set("OPENAI_API_KEY");

// The person reads our own sentence, and the command that asks for the missing right.
export const tellsTheWay = (error) => {
  assert.match(String(error?.message ?? error), /sallyport request/);
  return true;
};
