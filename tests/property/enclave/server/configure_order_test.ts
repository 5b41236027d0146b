/**
 * Which session key is in use when several `configure`s run at the same time. They arrive, are answered by KMS and are
 * abandoned in any order; after each step, a model says which replies were right and which key is in use.
 */
import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding";
import fc from "fast-check";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { sdkError } from "../../../../ffi/errors.ts";
import { type Aead, NODE_AEAD } from "../../../../lib/shared/crypto/aead.ts";
import { SecretBytes } from "../../../../lib/shared/crypto/secret_bytes.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import type { DecryptRequest, KmsAccess } from "../../../../lib/enclave/kms/kms.ts";
import { SessionKeyService } from "../../../../lib/enclave/session_key/session_key.ts";
import { WireError } from "../../../../lib/shared/wire/messages.ts";
import { FakeKms } from "../../../helpers/fake_kms.ts";
import { configureOn, plainSession } from "../../../helpers/wallet_rig.ts";

const ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/** Running and waiting at the same time. */
const MOST = 8;

const MODES = ["last", "last sealed", "highest epoch", "once"] as const;
type Mode = typeof MODES[number];

type Step =
  | { readonly kind: "send"; readonly epoch: number; readonly sealedAt: number }
  /** KMS opens or refuses one that it works on, or a client gives up on its reply. */
  | { readonly kind: "open" | "refuse" | "abandon"; readonly which: number };

const which = fc.nat(20);
const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("send" as const),
      epoch: fc.integer({ min: 1, max: 6 }),
      sealedAt: fc.integer({ min: 1, max: 6 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("open" as const), which }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom("refuse" as const, "abandon" as const), which }),
  },
);

/** A `configure`. Its number is its place in the order of arrival, and every byte of its key. */
interface Sent {
  readonly number: number;
  readonly epoch: number;
  readonly sealedAt: number;
  readonly client: AbortController;
  /** "configured" or an error's code; undefined before the reply. */
  reply: string | undefined;
}

/** Answers when the test says so. */
class HeldKms extends FakeKms {
  readonly callsAtOnce: number;
  readonly calls = new Map<number, PromiseWithResolvers<SecretBytes>>();

  constructor(callsAtOnce: number) {
    super(() => Promise.reject(new TypeError("not used")));
    this.callsAtOnce = callsAtOnce;
  }

  override decrypt(_access: KmsAccess, { ciphertext }: DecryptRequest): Promise<SecretBytes> {
    const call = Promise.withResolvers<SecretBytes>();
    this.calls.set(ciphertext[0] ?? 0, call);
    return call.promise;
  }
}

/** A service, and the numbers of the keys that are in memory. */
function makeService(mode: Mode, kms: HeldKms) {
  const keys = new Set<number>();
  const aead: Aead = {
    ...NODE_AEAD,
    newKey: (raw) => {
      const [number = 0] = raw;
      const key = NODE_AEAD.newKey(raw);
      keys.add(number);
      return {
        seal: (into, what) => key.seal(into, what),
        open: (into, what) => key.open(into, what),
        [Symbol.dispose]: () => void keys.delete(number),
      };
    },
  };
  const configureOnce = mode === "once";
  const requireEpoch = mode === "highest epoch";
  const service = plainSession({ configureOnce, requireEpoch, kms, aead, keys: [parseKeyArn(ARN)] });
  return { service, keys, [Symbol.dispose]: () => service[Symbol.dispose]() };
}

/** Starts a `configure`; its reply is noted when it comes. */
function send(
  service: SessionKeyService,
  mode: Mode,
  { number, epoch, sealedAt }: Pick<Sent, "number" | "epoch" | "sealedAt">,
): Sent {
  const sent: Sent = { number, epoch, sealedAt, client: new AbortController(), reply: undefined };
  const configure = async () =>
    await configureOn(
      service,
      {
        type: "configure",
        encrypted_tsk: encodeBase64(new Uint8Array(8).fill(number)),
        aws_access_key_id: "AKID",
        aws_secret_access_key: "secret",
        epoch,
      },
      { signal: sent.client.signal, sealedAt: mode === "last sealed" ? sealedAt : undefined },
    );
  configure().then(
    () => sent.reply = "configured",
    (thrown) =>
      sent.reply = thrown instanceof EnclaveError || thrown instanceof WireError
        ? thrown.code
        : String(thrown),
  );
  return sent;
}

async function run(mode: Mode, callsAtOnce: number, steps: readonly Step[]): Promise<void> {
  const kms = new HeldKms(callsAtOnce);
  using rig = makeService(mode, kms);
  const all: Sent[] = [];
  const unanswered = () => all.filter(({ reply }) => reply === undefined);
  let inUse: Sent | undefined;

  /** The code for a key that comes too late for the one in use. */
  const lateCode = ({ epoch, sealedAt }: Sent): string | undefined => {
    if (inUse === undefined) return undefined;
    if (mode === "last sealed") return sealedAt < inUse.sealedAt ? "sealed_replayed" : undefined;
    const isLate = mode === "once" || (mode === "highest epoch" && epoch <= inUse.epoch);
    return isLate ? "already_configured" : undefined;
  };

  for (const step of steps) {
    if (step.kind === "send") {
      const isBusy = unanswered().length >= MOST;
      const sent = send(rig.service, mode, { ...step, number: all.length + 1 });
      await settle();
      all.push(sent);
      assertEquals(sent.reply, lateCode(sent) ?? (isBusy ? "busy" : undefined));
    } else if (step.kind === "abandon") {
      const among = unanswered();
      among[step.which % Math.max(1, among.length)]?.client.abort();
    } else {
      const among = all.filter(({ number }) => kms.calls.has(number));
      const sent = among[step.which % Math.max(1, among.length)];
      const call = kms.calls.get(sent?.number ?? 0);
      if (sent === undefined || call === undefined) continue;
      kms.calls.delete(sent.number);
      if (step.kind === "open") call.resolve(new SecretBytes(new Uint8Array(32).fill(sent.number)));
      else call.reject(sdkError("sdk_kms_decrypt", "no", { symbol: "s" }));
      await settle();
      assertEquals(
        sent.reply,
        step.kind === "refuse"
          ? "sdk_kms_decrypt"
          : sent.client.signal.aborted
          ? "abandoned"
          : lateCode(sent) ?? "configured",
      );
      const wasOvertaken = inUse !== undefined && inUse.number > sent.number &&
        (mode === "last" || (mode === "last sealed" && inUse.sealedAt === sent.sealedAt));
      if (sent.reply === "configured" && !wasOvertaken) inUse = sent;
    }

    // The one in use is the right one by the replies alone, and no other key is in memory.
    const accepted = all.filter(({ reply }) => reply === "configured");
    const last = accepted.toSorted((a, b) =>
      mode === "highest epoch" ? a.epoch - b.epoch : mode === "last sealed" ? a.sealedAt - b.sealedAt : 0
    ).at(-1);
    assertEquals([inUse?.number, [...rig.keys]], [last?.number, last === undefined ? [] : [last.number]]);
    if (mode === "once") assert(accepted.length <= 1);
    // None waits while KMS could make another call.
    const waiting = unanswered().filter(({ number, client }) =>
      !kms.calls.has(number) && !client.signal.aborted
    );
    assert(kms.calls.size <= callsAtOnce);
    assert(kms.calls.size === callsAtOnce || waiting.length === 0);
  }
}

/** Lets everything happen that does not wait for KMS. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
}

/** Two at once, the higher one first or last, of which KMS opens the first or the last first. */
const TWO_AT_ONCE = [[1, 2], [2, 1]].flatMap((numbers) =>
  [0, 1].map((which): [number, Step[]] => [2, [
    ...numbers.map((n) => ({ kind: "send" as const, epoch: n, sealedAt: n })),
    { kind: "open", which },
    { kind: "open", which: 0 },
  ]])
);

for (const mode of MODES) {
  const rule = mode === "once" ? "exactly one is accepted" : `the ${mode} that was accepted is in use`;
  Deno.test(`of configures that run at the same time, ${rule}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(STEP, { maxLength: 40 }),
        (callsAtOnce, steps) => run(mode, callsAtOnce, steps),
      ),
      { examples: TWO_AT_ONCE },
    );
  });
}
