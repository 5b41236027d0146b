/** A request that waits keeps nothing of its JSON but the parsed fields: by then its memory counts no longer. */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import { REQUESTS, WALLET_REQUESTS } from "../../../../lib/shared/wire/protocol.ts";
import type { WireObject } from "../../../../lib/shared/wire/messages.ts";
import { within } from "../../../helpers/deadline.ts";
import { collectGarbage } from "../../../helpers/garbage.ts";
import { CREDENTIAL, walletRig } from "../../../helpers/wallet_rig.ts";

type Rig = Awaited<ReturnType<typeof walletRig>>;

/** A request of each type that asks KMS: it waits when KMS does not answer. */
async function requestsThatWait(rig: Rig): Promise<readonly WireObject[]> {
  const init = { type: "master_key.init", enclave_id: 1, kms_key_id: rig.firstArn, credential: CREDENTIAL };
  const { kms_encrypted_dek, encrypted_private_key, public_key, key_epoch } = await rig.ask(init);
  const row = { kms_encrypted_dek, encrypted_private_key, public_key, key_epoch };
  // Of a higher epoch than the one that is held: it is opened.
  const newer = { ...row, key_epoch: 2 };
  const account = await rig.account("alice");
  return [
    {
      type: "configure",
      encrypted_tsk: encodeBase64(new Uint8Array(64)),
      kms_key_id: rig.firstArn,
      credential: CREDENTIAL,
    },
    { ...init, ...newer },
    { ...init, ...row, type: "master_key.verify" },
    { type: "master_key.rewrap", new_kms_key_id: rig.secondArn, credential: CREDENTIAL },
    { apiRequest: "generateAccount", name: "bob", key_id: rig.firstArn, credential: CREDENTIAL },
    { ...account, apiRequest: "rewrapAccount", new_key_id: rig.secondArn },
    { ...account, message: "text" },
  ];
}

function fieldsOf(request: WireObject): readonly string[] {
  const name = String(request["type"] ?? request["apiRequest"]);
  const specs = { ...REQUESTS, ...WALLET_REQUESTS }[name as "configure"].request;
  return [...Object.keys(specs), "credential", "not_a_field"];
}

/** Sends a request with a list in one of its fields. The list must not be named anywhere else. */
function sendWithList(rig: Rig, base: WireObject, name: string) {
  const list = [{}, {}, {}];
  const answer = rig.handler({
    ...structuredClone(base),
    [name]: name === "credential" ? { ...CREDENTIAL, list } : list,
  });
  return { answer: Promise.resolve(answer), list: new WeakRef(list) };
}

Deno.test("a request that waits for KMS keeps nothing of a list that it was sent, in whichever field", async () => {
  using rig = await walletRig();
  const requests = await requestsThatWait(rig);
  const end = Promise.withResolvers<never>();
  rig.kms.decrypt = () => end.promise;
  rig.kms.generateDataKey = () => end.promise;
  // Of those that are served one at a time, the ones below wait for these.
  const first = requests.map((request) => Promise.resolve(rig.handler(structuredClone(request))));
  const sent = requests.flatMap((base) =>
    fieldsOf(base).map((name) => ({ base, name, ...sendWithList(rig, base, name) }))
  );
  let waiting = sent.length;
  for (const { answer } of sent) void answer.then(() => waiting--);
  await collectGarbage();
  const kept = sent.filter(({ list }) => list.deref() !== undefined);
  assertEquals(kept.map(({ base, name }) => [base["type"] ?? base["apiRequest"], name]), []);
  // Those with a list beside their credentials, and in a field that does not exist, wait.
  assert(waiting >= 2 * requests.length, `${waiting} wait`);
  end.reject(new Error("the end of the test"));
  await within(Promise.all([...first, ...sent.map(({ answer }) => answer)]), "the answers");
});
