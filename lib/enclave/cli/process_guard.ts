/**
 * Keeps the workflow, which is third-party code, from ending the process: the keys exist only in its memory.
 *
 * @module
 */
import process from "node:process";
import { kindOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";

function refuse(): never {
  throw new TypeError("A workflow cannot end the process: it holds the keys. Throw a WorkflowError instead.");
}

/** Options of {@link guardProcess}. */
interface GuardOptions {
  readonly log: Log;
  /** Whether the log shows error messages. Never in production: they may contain data, and the parent reads the log. */
  readonly isDevelopment: boolean;
}

/**
 * Makes `Deno.exit` throw, and logs unhandled rejections and uncaught exceptions instead of ending the process. Disposing the result
 * undoes this.
 */
export function guardProcess({ log, isDevelopment }: GuardOptions): Disposable {
  const undo = new DisposableStack();
  for (
    const [owner, name] of [[Deno, "exit"], [process, "exit"], [process, "reallyExit"], [process, "abort"]]
  ) {
    const old = Object.getOwnPropertyDescriptor(owner, String(name));
    if (typeof owner !== "object" || old === undefined) continue;
    Object.defineProperty(owner, String(name), { value: refuse, configurable: true, writable: true });
    undo.defer(() => void Object.defineProperty(owner, String(name), old));
  }
  const say = (thrown: unknown) =>
    log("error", "uncaught", {
      class: kindOf(thrown),
      ...(isDevelopment && thrown instanceof Error ? { message: thrown.message, stack: thrown.stack } : {}),
    });
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    say(event.reason);
  };
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    say(event.error);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  globalThis.addEventListener("error", onError);
  undo.defer(() => {
    globalThis.removeEventListener("unhandledrejection", onRejection);
    globalThis.removeEventListener("error", onError);
  });
  return undo;
}

const PERMISSIONS = ["read", "write", "net", "env", "run", "ffi", "sys"] as const;

/**
 * The names of the permissions that the process holds.
 *
 * @param grants what the process was started with. A query without a path does not see a grant that names one (measured with 2.6 and 2.9), so
 * each has to be asked for.
 */
export function heldPermissions(grants: readonly Deno.PermissionDescriptor[] = []): readonly string[] {
  const isHeld = (descriptor: Deno.PermissionDescriptor) => {
    const { state, partial } = Deno.permissions.querySync(descriptor);
    return state === "granted" || partial;
  };
  return PERMISSIONS.filter((name) =>
    isHeld({ name }) || grants.some((grant) => grant.name === name && isHeld(grant))
  );
}

/** Gives permissions up for good. Revoking without a path also revokes grants that name a path (measured with Deno 2.6 and 2.9). */
export function giveUpPermissions(names: readonly (typeof PERMISSIONS)[number][]): void {
  for (const name of names) Deno.permissions.revokeSync({ name });
}
