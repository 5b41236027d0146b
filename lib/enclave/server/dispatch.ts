/**
 * Dispatches a request by its `type` (or its `apiRequest`) to its route, and turns errors into error replies.
 *
 * @module
 */
import { EnclaveError, messageOf, positionOf } from "../../shared/errors.ts";
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
import { type Answer, type Call, type Feature, PreparedReply, type Route, type Routes } from "./feature.ts";
import { type MemoryBudget, parseReserved, Reservation } from "./memory_budget.ts";
import { NEVER } from "./waiting.ts";

/** What the dispatcher connects. */
interface DispatchOptions {
  /** The server's own requests, by `type`. */
  readonly own: Routes;
  readonly features: readonly Feature[];
  /** Memory budget of the requests inside others. */
  readonly requestMemory: MemoryBudget;
  readonly log: Log;
}

/**
 * Answers a request. Never throws or rejects.
 *
 * @param signal aborted when the client no longer waits for the reply
 * @param dropped called when only a few small fields of the request are still held, so that its memory no longer counts
 */
export type Handler = (
  request: WireObject,
  signal?: AbortSignal,
  dropped?: () => void,
) => Answer | Promise<Answer>;

/** A route, and the feature whose it is; undefined for the server's own. */
interface Target {
  readonly route: Route;
  readonly feature: Feature | undefined;
}

type Targets = ReadonlyMap<string, Target>;

interface DroppedCall extends Call {
  readonly dropped: () => void;
}

function targetsOf(routes: Routes = {}, feature?: Feature): readonly (readonly [string, Target])[] {
  return Object.entries(routes).map(([name, route]) => [name, { route, feature }]);
}

/** Makes the handler of all requests. */
export function createDispatcher({ own, features, requestMemory, log }: DispatchOptions): Handler {
  const byApiRequest: Targets = new Map(
    features.flatMap((feature) => targetsOf(feature.apiRoutes, feature)),
  );
  const inner: Targets = new Map([
    ...targetsOf(own),
    ...features.flatMap((feature) => targetsOf(feature.routes, feature)),
  ]);
  const outer: Targets = new Map([
    ...inner,
    ...features.flatMap((feature) => targetsOf(feature.outerRoutes?.(answerInner), feature)),
  ]);

  function answer(
    { name, field, among }: { readonly name: unknown; readonly field: string; readonly among: Targets },
    request: WireObject,
    call: DroppedCall,
  ): Answer | Promise<Answer> {
    const target = typeof name === "string" ? among.get(name) : undefined;
    if (typeof name !== "string" || target === undefined) {
      return { type: "unknown", reply: unknownReply(name, field, among) };
    }
    const { route, feature } = target;
    try {
      const reply = route.answer(request, call);
      if (!(reply instanceof Promise)) return { type: name, reply };
      // The route has taken the fields that it needs, and keeps only those.
      dropFields(request);
      if (route.isLarge !== true) call.dropped();
      return settled(name, feature, reply);
    } catch (thrown) {
      return failed(name, feature, thrown);
    }
  }

  const failed = (type: string, feature: Feature | undefined, thrown: unknown): Answer => ({
    type,
    reply: replyTo(thrown) ?? feature?.replyTo?.(thrown, type) ?? internalError(thrown, type, log),
  });

  const settled = (
    type: string,
    feature: Feature | undefined,
    waiting: Promise<Reply | PreparedReply>,
  ): Promise<Answer> =>
    waiting.then((reply): Answer => ({ type, reply }), (thrown) => failed(type, feature, thrown));

  function handle(request: WireObject, call: DroppedCall, among: Targets): Answer | Promise<Answer> {
    const apiRequest = field(request, "apiRequest");
    if (apiRequest === undefined) {
      return answer({ name: field(request, "type"), field: "type", among }, request, call);
    }
    const answered = answer({ name: apiRequest, field: "apiRequest", among: byApiRequest }, request, call);
    return answered instanceof Promise ? answered.then(inWalletShape) : inWalletShape(answered);
  }

  /** The values of such a request count towards the memory budget once it is parsed, as for any other. */
  function answerInner(body: Uint8Array, call: Call): Answer | Promise<Answer> {
    const charge = new Reservation(requestMemory);
    const release = () => charge[Symbol.dispose]();
    let answered: Answer | Promise<Answer>;
    try {
      answered = handle(parseReserved(body, charge, 0), { ...call, dropped: release }, inner);
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
    for (const feature of features) {
      const refusal = feature.refusal?.(request);
      if (refusal === undefined) continue;
      const refused: Answer = { type: "refused", reply: refusal };
      return field(request, "apiRequest") === undefined ? refused : inWalletShape(refused);
    }
    return handle(request, { signal, dropped }, outer);
  };
}

function unknownReply(name: unknown, field: string, among: Targets): Reply {
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

/** Codes of errors whose messages the client may see. */
const OWN_CODES = ["rekey_required", "key_not_allowed"] as const;

/** The reply to an error of any request; undefined for an unexpected one. */
function replyTo(thrown: unknown): Reply | undefined {
  if (thrown instanceof WireError) return errorReply(thrown.code, thrown.message);
  if (!(thrown instanceof EnclaveError)) return undefined;
  // The client has disconnected.
  if (thrown.code === "abandoned") return errorReply("timeout", thrown.message);
  const code = OWN_CODES.find((own) => own === thrown.code);
  return code === undefined ? undefined : errorReply(code, thrown.message);
}

/** The reply has a fixed message; only the log has the cause. */
function internalError(thrown: unknown, type: string, log: Log): Reply {
  log("error", "internal_error", { type, reason: messageOf(thrown), at: positionOf(thrown) });
  return errorReply("internal_error", "The request failed inside; denclavectl client logs says why");
}
