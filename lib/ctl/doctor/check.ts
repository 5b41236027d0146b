/**
 * The interface of the doctor's checks: each examines one thing through injected functions and reports its state and a remedy.
 *
 * @module
 */
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import type { KeyArn } from "../../shared/aws/key_arn.ts";
import type { Address } from "../../shared/wire/address.ts";
import type { WireObject } from "../../shared/wire/messages.ts";
import type { ParentCredentials } from "../aws/credential_source.ts";
import type { KeyAdmin } from "../aws/key_admin.ts";
import type { Measurements } from "../policy/measurements.ts";
import type { RuleId } from "../policy/rules.ts";
import type { CommandResult } from "../terminal/run_program.ts";

/** The result of a check. `skipped` means that it could not run or does not apply. */
export type Status = "ok" | "warn" | "fail" | "skipped";

/** A check's report. */
export interface Verdict {
  readonly status: Status;
  /** What was seen. */
  readonly reason: string;
  /** The remedy, if one is needed. */
  readonly remedy?: string;
}

/**
 * The programs that are run, each from PATH: distributions keep them in different folders. `/proc` is read by programs, since Deno requires all
 * permissions for it.
 */
export const PROGRAMS = ["nitro-cli", "systemctl", "ss", "ps", "grep"] as const;

/** One of {@link PROGRAMS}. */
export type Program = (typeof PROGRAMS)[number];

/** The environment that the entry point provides. Each function has its own deadline. */
export interface DoctorWorld {
  /** Runs one of {@link PROGRAMS}. @throws {Deno.errors.NotFound} when there is no such program. */
  readonly run: (program: Program, args: readonly string[]) => Promise<CommandResult>;
  /** @throws {Deno.errors.NotFound} when there is no such file. */
  readonly readText: (path: string) => Promise<string>;
  /** Opens a TLS connection and closes it. */
  readonly connectTls: (hostname: string, port: number) => Promise<void>;
  /** The Date header of the answer. */
  readonly fetchDate: (url: string) => Promise<string | undefined>;
  /** Asks the service for its health. */
  readonly askHealth: (address: Address) => Promise<WireObject>;
  readonly credentials: () => Promise<ParentCredentials>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** What the checks examine. */
export interface DoctorTarget {
  /** Where the service is. Not vsock: a service on a host, and no enclave. */
  readonly address: Address;
  readonly key: KeyArn | undefined;
  /** The region that requests name, where something says so; else the key's. */
  readonly region: string | undefined;
  /** Another endpoint than AWS's, for development. */
  readonly endpoint: string | undefined;
  /** Of the EIF that should run. */
  readonly measurements: Measurements | undefined;
  /** The vsock port of the vsock-proxy that the enclave connects to. */
  readonly proxyPort: number;
  /** What the enclave needs, MiB. */
  readonly memoryMib: number;
  readonly cpus: number;
  readonly reviewed: readonly string[];
  readonly parents: readonly string[];
  readonly accepted: readonly RuleId[];
}

/** What checks share: the environment, the target, and results that several of them need. */
export interface DoctorContext {
  readonly world: DoctorWorld;
  readonly target: DoctorTarget;
  /** Of the key; undefined when none is named. */
  readonly admin: KeyAdmin | undefined;
  /** Calls the function once for each name and returns the cached result. */
  readonly once: <T>(name: string, look: () => Promise<T>) => Promise<T>;
}

/** A check. */
export interface Check {
  /** Stable, kebab-case. */
  readonly id: string;
  readonly look: (context: DoctorContext) => Promise<Verdict>;
}

/** The check passed. */
export function ok(reason: string): Verdict {
  return { status: "ok", reason };
}

/** It works, but needs attention. */
export function warn(reason: string, remedy: string): Verdict {
  return { status: "warn", reason, remedy };
}

/** It does not work. */
export function fail(reason: string, remedy: string): Verdict {
  return { status: "fail", reason, remedy };
}

/** It was not checked. */
export function skipped(reason: string): Verdict {
  return { status: "skipped", reason };
}

/** A check of what only an enclave has. @param why it does not apply to a service on a host */
export function ofEnclave(look: Check["look"], why: string): Check["look"] {
  return (context) =>
    context.target.address.transport === "vsock"
      ? look(context)
      : Promise.resolve(skipped(`the service is not in an enclave: ${why}`));
}

/** A check of what needs not be there. @param absent what it means that a program or a file is missing */
export function ifThere(look: Check["look"], absent: Verdict): Check["look"] {
  return (context) =>
    look(context).catch((thrown) => {
      if (thrown instanceof Deno.errors.NotFound) return absent;
      throw thrown;
    });
}

/** A failure from a thrown value, with that error's hint if it has one. */
export function failedBy(thrown: unknown, remedy: string): Verdict {
  return fail(messageOf(thrown), thrown instanceof EnclaveError ? thrown.hint ?? remedy : remedy);
}

/** The first line of a program's output. */
export function firstLine(text: string): string {
  return (text.trim().split("\n")[0] ?? "").slice(0, 200);
}
