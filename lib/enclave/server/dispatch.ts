/**
 * Dispatches a request by its `type` (or the wallet's `apiRequest`) to its handler, and turns errors into error replies.
 *
 * @module
 */
import { PayloadError } from "../../shared/crypto/payload_error.ts";
import { type Aead, NODE_AEAD } from "../../shared/crypto/aead.ts";
import type { Random } from "../../shared/crypto/random.ts";
import { OpenError } from "../../shared/crypto/sealing.ts";
import { EnclaveError, messageOf, positionOf } from "../../shared/errors.ts";
import type { Kms } from "../kms/kms.ts";
import type { Log } from "../../shared/log.ts";
import {
  dropFields,
  errorReply,
  field,
  isErrorReply,
  type Reply,
  WireError,
  type WireObject,
} from "../../shared/wire/messages.ts";
import { type Answer, type Handler, PreparedReply } from "./handler.ts";
import { DEFAULT_LIMITS } from "../../shared/cli/limits.ts";
import { createMemory, type MemoryBudget, parseReserved, Reservation } from "./memory_budget.ts";
import type { EventLog } from "./events.ts";
import type { MasterKeyService } from "../master_key/master_key.ts";
import type { SealedService } from "../sealed/sealed.ts";
import { NEVER } from "./pace.ts";
import type { Metrics } from "./metrics.ts";
import { kmsFailure } from "./kms_failure.ts";
import type { SessionKeyService } from "../session_key/session_key.ts";
import type { WalletService } from "../wallet/wallet.ts";
import { WorkflowError } from "../../workflow_context.ts";
import { WorkflowFault } from "../session_key/workflow_call.ts";

/** The parts that the dispatcher connects. */
export interface DispatchOptions {
  readonly session: SessionKeyService;
  readonly wallet: WalletService;
  readonly masterKey: MasterKeyService;
  readonly sealed: SealedService;
  readonly kms: Kms;
  /** Shown by `health`. */
  readonly aead?: Aead | undefined;
  /** The source of random numbers, shown in `health`. */
  readonly random: Pick<Random, "sources">;
  readonly events: EventLog;
  readonly metrics: Metrics;
  readonly version: string;
  /** Warnings about the configuration, shown by `health`. */
  readonly warnings: readonly string[];
  /** The self-test as `health` shows it, run for every `health`. */
  readonly selfTest?: (() => Promise<readonly object[]>) | undefined;
  readonly serverStats: () => Readonly<Record<string, number>>;
  readonly log: Log;
  readonly now: () => Date;
  /** Memory budget of opened sealed requests; the default limit without it. */
  readonly requestMemory?: MemoryBudget | undefined;
  /** Whether the log shows the messages of the workflow's errors. Never in production. */
  readonly isDevelopment?: boolean;
  /** Kinds of permission that the process holds; shown in `health`. */
  readonly permissions?: readonly string[] | undefined;
}

/** Requests that keep their whole message in memory while they wait; all others keep a few small fields. */
const LARGE: readonly string[] = ["process", "sealed", "sign"];

const DEFAULT_EVENTS = 100;
const MAX_EVENTS = 500;

type Route = (
  request: WireObject,
  waiting: Waiting,
) => Reply | PreparedReply | Promise<Reply | PreparedReply>;

/** Makes the handler of all requests. */
export function createDispatcher(options: DispatchOptions): Handler {
  const { session, wallet, masterKey, sealed, kms, events, metrics, now } = options;
  const started = now();
  const requestMemory = options.requestMemory ?? createMemory(DEFAULT_LIMITS.maxInFlight).requests;

  const health = (selfTest?: readonly object[]): Reply => ({
    status: "ok",
    ...session.state,
    version: options.version,
    uptime_s: Math.floor((now().getTime() - started.getTime()) / 1000),
    kms: kms.health(),
    aead: (options.aead ?? NODE_AEAD).name,
    random: options.random.sources,
    wallet: wallet.state,
    master_key: masterKey.state,
    ...options.serverStats(),
    log_lines_dropped: events.dropped,
    warnings: options.warnings,
    ...(options.permissions === undefined ? {} : { permissions: options.permissions }),
    ...(selfTest === undefined ? {} : { self_test: selfTest }),
  });

  const routes = new Map<string, Route>([
    ["ping", () => ({ status: "ok", msg: "pong", timestamp: now().toISOString() })],
    ["health", () => options.selfTest?.().then(health) ?? health()],
    ["configure", (request, { signal, sealedAt }) => session.configure(request, signal, sealedAt)],
    ["process", (request, { signal }) => session.process(request, signal)],
    ["master_key.init", (request, { signal }) => masterKey.init(request, signal)],
    ["master_key.verify", (request) => masterKey.verify(request)],
    ["master_key.rewrap", (request, { signal }) => masterKey.rewrap(request, signal)],
    ["master_key.public_info", (request) => masterKey.publicInfo(request)],
    ["master_key.sign", (request) => masterKey.sign(request)],
    ["logs", (request) => ({ status: "ok", events: eventsFor(request, events) })],
    ["metrics", () => ({ status: "ok", requests: metrics.snapshot(), ...options.serverStats() })],
    ["attest", (request) => sealed.attest(request)],
  ]);
  const openRoutes = new Map<string, Route>([
    ...routes,
    [
      "sealed",
      (request, { signal }) =>
        sealed.serve(request, (inner, sealedAt) => handleSealed(inner, { signal, sealedAt })),
    ],
  ]);
  const walletRoutes = new Map<string, Route>([
    ["generateAccount", (request) => wallet.generateAccount(request)],
    ["sign", (request, { signal }) => wallet.sign(request, signal)],
  ]);

  function answer(
    { name, field, among }: {
      readonly name: unknown;
      readonly field: string;
      readonly among: ReadonlyMap<string, Route>;
    },
    request: WireObject,
    waiting: Waiting,
  ): Answer | Promise<Answer> {
    const route = typeof name === "string" ? among.get(name) : undefined;
    if (typeof name !== "string" || route === undefined) {
      return { type: "unknown", reply: unknownReply(name, field, among) };
    }
    try {
      const reply = route(request, waiting);
      if (!(reply instanceof Promise)) return { type: name, reply };
      // The handler has taken the fields that it needs, and keeps only those.
      dropFields(request);
      if (!LARGE.includes(name)) waiting.dropped();
      return settled(name, reply);
    } catch (thrown) {
      return failed(name, thrown);
    }
  }

  const failed = (type: string, thrown: unknown): Answer => ({ type, reply: replyTo(thrown, type, options) });

  const settled = (type: string, waiting: Promise<Reply | PreparedReply>): Promise<Answer> =>
    waiting.then((reply): Answer => ({ type, reply }), (thrown) => failed(type, thrown));

  function handle(
    request: WireObject,
    waiting: Waiting,
    among: ReadonlyMap<string, Route>,
  ): Answer | Promise<Answer> {
    const apiRequest = field(request, "apiRequest");
    if (apiRequest === undefined) {
      return answer({ name: field(request, "type"), field: "type", among }, request, waiting);
    }
    const answered = answer({ name: apiRequest, field: "apiRequest", among: walletRoutes }, request, waiting);
    return answered instanceof Promise ? answered.then(inWalletShape) : inWalletShape(answered);
  }

  /** Answers an opened sealed request: its values count towards the memory budget once it is parsed, as for an unsealed one. */
  function handleSealed(body: Uint8Array, waiting: Omit<Waiting, "dropped">): Answer | Promise<Answer> {
    const charge = new Reservation(requestMemory);
    const release = () => charge[Symbol.dispose]();
    let answered: Answer | Promise<Answer>;
    try {
      answered = handle(parseReserved(body, charge, 0), { ...waiting, dropped: release }, routes);
    } catch (thrown) {
      release();
      if (!(thrown instanceof WireError)) throw thrown;
      return { type: "broken", reply: errorReply(thrown.code, thrown.message) };
    }
    if (answered instanceof Promise) return answered.finally(release);
    release();
    return answered;
  }

  return (request, signal = NEVER, dropped = () => {}) => {
    const refusal = sealed.refusal(request);
    if (refusal === undefined) return handle(request, { signal, dropped }, openRoutes);
    const refused: Answer = { type: "refused", reply: refusal };
    return field(request, "apiRequest") === undefined ? refused : inWalletShape(refused);
  };
}

/** What goes with a request. */
interface Waiting {
  readonly signal: AbortSignal;
  /**
   * When the client sealed the request, by its clock; undefined if it is not sealed. Milliseconds since 1970.
   */
  readonly sealedAt?: number;
  /** Called when only a few small fields of the request are still held. */
  readonly dropped: () => void;
}

function unknownReply(name: unknown, field: string, among: ReadonlyMap<string, Route>): Reply {
  const known = [...among.keys()].join(", ");
  return name === undefined
    ? errorReply("missing_fields", `Field ${field} is missing; known: ${known}`)
    : errorReply("unknown_type", `Known values of ${field}: ${known}`);
}

/** The wallet's clients distinguish replies by `apiResponse`. */
function inWalletShape(answer: Answer): Answer {
  const { type, reply } = answer;
  if (reply instanceof PreparedReply || !isErrorReply(reply)) return answer;
  return { type, reply: { apiResponse: "errorResponse", ...reply } };
}

function eventsFor(request: WireObject, events: EventLog): readonly object[] {
  const security = field(request, "security") ?? false;
  if (typeof security !== "boolean") {
    throw new WireError("missing_fields", "Field security must be true or false");
  }
  const limit = field(request, "limit") ?? (security ? MAX_EVENTS : DEFAULT_EVENTS);
  if (typeof limit !== "number" || !Number.isInteger(limit) || limit < 1) {
    throw new WireError("missing_fields", "Field limit must be a whole number from 1");
  }
  return (security ? events.security : events).recent(Math.min(limit, MAX_EVENTS));
}

/** Codes of errors whose messages the client may see. */
const OWN_CODES = ["rekey_required", "key_not_allowed"] as const;

/** The reply has a code and a fixed message; only the log has the cause. */
function replyTo(
  thrown: unknown,
  type: string,
  { log, isDevelopment = false }: Pick<DispatchOptions, "log" | "isDevelopment">,
): Reply {
  if (thrown instanceof WorkflowError) {
    return { ...errorReply("workflow_failed", thrown.message), code: thrown.code };
  }
  if (thrown instanceof WorkflowFault) {
    log("error", "workflow_threw", thrown.describe(isDevelopment));
    return errorReply("internal_error", "The workflow failed; denclavectl client logs says why");
  }
  if (thrown instanceof WireError) return errorReply(thrown.code, thrown.message);
  if (thrown instanceof OpenError) return errorReply("decrypt_failed", thrown.message);
  if (thrown instanceof PayloadError) return errorReply("invalid_payload", thrown.message);
  if (thrown instanceof EnclaveError) {
    const code = OWN_CODES.find((own) => own === thrown.code);
    if (code !== undefined) return errorReply(code, thrown.message);
    // The client has disconnected.
    if (thrown.code === "abandoned") return errorReply("timeout", thrown.message);
  }
  if (thrown instanceof EnclaveError && type === "configure") {
    log("error", "configure_failed", { code: thrown.code, reason: thrown.message, hint: thrown.hint });
    const wire = kmsFailure(thrown, "kms_decrypt_failed");
    return errorReply(wire.code, wire.message);
  }
  log("error", "internal_error", { type, reason: messageOf(thrown), at: positionOf(thrown) });
  return errorReply("internal_error", "The request failed inside; denclavectl client logs says why");
}
