/**
 * An SDK process: one warm session, one call at a time, on one thread. It reads requests on stdin and answers on stdout. What the SDK
 * prints goes to stderr, where the service reads it.
 *
 * It never outlives the service: it ends when its stdin closes, and the kernel kills it when its parent ends, also while a call of the SDK hangs.
 *
 * Permission: FFI on the SDK's libraries and on libc.
 *
 * @module
 */
import { confineProcess } from "../../../../ffi/confine.ts";
import { Kernel } from "../../../../ffi/kernel.ts";
import { openSdk } from "../../../../ffi/sdk.ts";
import { Credentials } from "../../../shared/aws/credentials.ts";
import { writeAll } from "../../../shared/write_all.ts";
import { WarmSession } from "../aws_ne/warm_session.ts";
import { decode } from "cborg";
import { FrameReader } from "../../children/frames.ts";
import { frameOf, MAX_LENGTH, packError, type SdkMessage, type SdkRequest } from "./protocol.ts";

/**
 * A connection that failed sooner than this is tried once more, since the proxy may just have been
 * restarting. The SDK gives up connecting after 3 s. Milliseconds.
 */
const QUICK_MS = 2_000;

/** When memory is short, the kernel ends workflow processes first, then these, then the service. */
const OOM_SCORE = 500;

/** The standard streams of this process. */
export interface SdkProcessStreams {
  readonly stdin: ReadableStream<Uint8Array>;
  readonly stdout: { writeSync(bytes: Uint8Array): number };
}

/**
 * Answers requests until stdin ends.
 *
 * @param parentPid the process id of the service
 * @throws {EnclaveError} `libc` when the kernel cannot be told to end it with its parent; `parent_ended`.
 */
export async function runSdkProcess({ stdin, stdout }: SdkProcessStreams, parentPid: number): Promise<void> {
  confineProcess({ parentPid, oomScore: OOM_SCORE });
  const kernel = new Kernel("look which memory is mapped");
  const reader = new FrameReader(MAX_LENGTH);
  let session: WarmSession | undefined;
  let id = 0;
  let connectingSince = 0;
  const write = (message: SdkMessage) => {
    const frame = frameOf(message);
    writeAll((bytes) => stdout.writeSync(bytes), frame);
    frame.fill(0);
  };
  const onPhase = (phase: "connecting" | "calling") => {
    if (phase === "connecting") connectingSince = performance.now();
    write({ id, phase });
  };
  const serve = (request: SdkRequest) => {
    ({ id } = request);
    try {
      if (request.op === "open") {
        const { libraryDir, ...options } = request;
        const open = () => openSdk({ libraryDir, isMapped: (...memory) => kernel.isMapped(...memory) });
        session = new WarmSession({ ...options, open, now: () => performance.now(), onPhase });
        return write({ id, ok: true, state: session.state });
      }
      if (session === undefined) throw new TypeError("Cannot call KMS: the SDK was not opened");
      using credentials = new Credentials(request.credentials);
      const { plaintext, ...rest } = session.call(request.region, credentials, request.call);
      using secret = plaintext;
      write({ id, ok: true, state: session.state, plaintext: secret.expose(), ...rest });
    } catch (thrown) {
      const error = packError(thrown);
      const failedQuickly = error.code === "sdk_kms_client" && performance.now() - connectingSince < QUICK_MS;
      const isLost = error.isLost || failedQuickly;
      write({ id, ok: false, error: { ...error, isLost }, state: session?.state });
    }
  };
  for await (const chunk of stdin) {
    for (const body of reader.push(chunk)) {
      serve(decode(body) as SdkRequest);
      body.fill(0);
    }
  }
}
