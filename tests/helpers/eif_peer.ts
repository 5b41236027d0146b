/**
 * AWS's own crate of the image format, as a process that does a list of jobs (tests/native/eif_peer).
 *
 * @module
 */
import { NATIVE_DIR } from "./native_sdk.ts";
import { within } from "./deadline.ts";
import type { EifMetadata } from "../../lib/ctl/eif/mod.ts";
import { skipTests } from "./skip.ts";

const PEER = `${NATIVE_DIR}/eif_peer`;
const RUN_MS = 60_000;

/** Makes an image from files. */
export interface BuildJob {
  readonly do: "build";
  readonly architecture: string;
  readonly kernel: string;
  readonly cmdline: string;
  readonly ramdisks: readonly string[];
  readonly metadata: EifMetadata;
  readonly output: string;
  readonly key?: string;
  readonly certificate?: string;
}

/** Reads an image, and verifies its signature. */
export interface DescribeJob {
  readonly do: "describe";
  readonly eif: string;
}

/** What came of a job. */
export interface PeerResult {
  readonly ok?: Readonly<Record<string, unknown>>;
  readonly error?: string;
}

/** Whether it was built (scripts/build.ts); reports it if not. */
export function hasEifPeer(): boolean {
  try {
    return Deno.statSync(PEER).isFile;
  } catch {
    skipTests("AWS's own crate of the image format, since it was not built (no cargo?)");
    return false;
  }
}

/** Does jobs, in their order. @param directory where the list may be written */
export async function runEifPeer(
  directory: string,
  jobs: readonly (BuildJob | DescribeJob)[],
): Promise<readonly PeerResult[]> {
  const list = `${directory}/jobs.json`;
  await Deno.writeTextFile(list, JSON.stringify(jobs));
  const { stdout, stderr, success } = await within(
    new Deno.Command(PEER, { args: [list], stdin: "null", stdout: "piped", stderr: "piped" }).output(),
    "the peer's answer",
    RUN_MS,
  );
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}
