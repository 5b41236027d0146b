/** The parent's credentials: kept while they are valid, and fetched again when they are not. */
import { assertEquals, assertRejects } from "@std/assert";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { CredentialSource, type ParentCredentials } from "../../../../lib/ctl/aws/credential_source.ts";

const MINUTE = 60_000;

function setup(lifeMinutes: number | undefined) {
  const state = { now: 1_000_000, asked: 0, fail: false };
  const source = new CredentialSource(() => {
    if (state.fail) return Promise.reject(new Error("no role"));
    const credentials: ParentCredentials = {
      accessKeyId: `key ${++state.asked}`,
      secretAccessKey: "made-for-tests",
      ...(lifeMinutes === undefined ? {} : { expiration: new Date(state.now + lifeMinutes * MINUTE) }),
    };
    return Promise.resolve(credentials);
  }, { now: () => state.now });
  return { state, source };
}

Deno.test("credentials are kept until five minutes before they expire", async () => {
  const { state, source } = setup(60);
  assertEquals((await source.get()).accessKeyId, "key 1");
  state.now += 54 * MINUTE;
  assertEquals((await source.get()).accessKeyId, "key 1");
  state.now += 1 * MINUTE;
  assertEquals((await source.get()).accessKeyId, "key 2");
});

Deno.test("credentials that do not expire are asked for once", async () => {
  const { state, source } = setup(undefined);
  await source.get();
  state.now += 1_000_000 * MINUTE;
  await source.get();
  assertEquals(state.asked, 1);
});

Deno.test("many who ask at once share one answer", async () => {
  const { state, source } = setup(60);
  await Promise.all([source.get(), source.get(), source.refresh()]);
  assertEquals(state.asked, 1);
});

Deno.test("refresh fetches fresh ones, whatever is held", async () => {
  const { source } = setup(60);
  await source.get();
  assertEquals([(await source.refresh()).accessKeyId, (await source.get()).accessKeyId], ["key 2", "key 2"]);
});

Deno.test("while the provider is unreachable, the held credentials are used until they expire", async () => {
  const { state, source } = setup(10);
  await source.get();
  state.fail = true;
  state.now += 9 * MINUTE;
  assertEquals((await source.get()).accessKeyId, "key 1");
  state.now += MINUTE;
  const error = await assertRejects(() => source.get(), EnclaveError, "no role");
  assertEquals([error.code, error.hint?.includes("IAM role")], ["no_credentials", true]);
  state.fail = false;
  assertEquals((await source.get()).accessKeyId, "key 2");
});

Deno.test("a call of a hanging provider is abandoned", async () => {
  const source = new CredentialSource(() => new Promise(() => {}), { deadlineMs: 5 });
  await assertRejects(() => source.get(), EnclaveError, "5 ms");
});
