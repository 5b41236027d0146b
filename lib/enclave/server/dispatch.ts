/**
 * Dispatches a request by its `type` (or its `apiRequest`) to its route, and turns errors into error replies.
 *
 * @module
 */
import { EnclaveError, messageOf, positionOf } from "../../shared/errors.ts";
import type { Log } from "../../shared/log.ts";
import type { Reply, WireObject } from "../../shared/wire/messages.ts";
import { dropFields, errorReply, field, isErrorReply, WireError } from "../../shared/wire/messages.ts";
import { type Answer, type Call, type Feature, PreparedReply, type Route, type Routes } from "./feature.ts";
import { type MemoryBudget, parseReserved, Reservation } from "./memory_budget.ts";
import { NEVER } from "./waiting.ts";

/**
 * Answers a request. Never throws or rejects.
 *
 * @param signal aborted when the client no longer waits for the reply
 * @param dropped called when only a few small fields of the request are still held, so that its memory no longer counts
 * @param more settles once the client sends more or ends its stream
 */
export type Handler = (
  request: WireObject,
  signal?: AbortSignal,
  dropped?: () => void,
  more?: Call["more"],
) => Answer | Promise<Answer>;

/** What the dispatcher asks of a feature, or of the server's own requests. */
type Answering = Pick<Feature, "routes" | "apiRoutes" | "outerRoutes" | "refusal" | "replyTo">;

/**
 * By the name in the request: a route, and what makes answers of its results and errors. It waits for a result,
 * so it refers to no request.
 */
type Targets = ReadonlyMap<string, {
  readonly route: Route;
  answered(reply: Reply | PreparedReply): Answer;
  failed(thrown: unknown): Answer;
}>;
type DroppedCall = Call & { readonly dropped: () => void };

/**
 * Makes the handler of all requests.
 *
 * @param requestMemory memory budget of the requests inside others
 */
export function createDispatcher(
  features: readonly Answering[],
  { requestMemory, log }: { readonly requestMemory: MemoryBudget; readonly log: Log },
): Handler {
  const targetsOf = (isWallets: boolean, routesOf: (feature: Answering) => Routes | undefined): Targets =>
    new Map(features.flatMap((feature) =>
      Object.entries(routesOf(feature) ?? {}).map(([name, route]) => {
        const answered = (reply: Reply | PreparedReply) => answerOf(name, reply, isWallets);
        const failed = (thrown: unknown) =>
          answered(replyTo(thrown) ?? feature.replyTo?.(thrown, name) ?? internalError(thrown, name, log));
        return [name, { route, answered, failed }] as const;
      })
    ));
  const byApiRequest = targetsOf(true, ({ apiRoutes }) => apiRoutes);
  const inner = targetsOf(false, ({ routes }) => routes);
  const outer = new Map([...inner, ...targetsOf(false, (feature) => feature.outerRoutes?.(answerInner))]);

  function handle(request: WireObject, call: DroppedCall, byType: Targets): Answer | Promise<Answer> {
    const isWallets = isForWallet(request);
    const [key, among] = isWallets ? ["apiRequest", byApiRequest] as const : ["type", byType] as const;
    const name = field(request, key);
    const purpose = field(request, "purpose");
    const own = typeof purpose === "string" ? among.get(`${name} ${purpose}`) : undefined;
    const target = typeof name !== "string" ? undefined : own ?? among.get(name);
    if (target === undefined) return answerOf("unknown", unknownReply(name, key, among), isWallets);
    const { route, answered, failed } = target;
    try {
      const reply = route.answer(request, call);
      if (!(reply instanceof Promise)) return answered(reply);
      // The route has taken the fields that it needs, and keeps only those.
      dropFields(request);
      if (route.isLarge !== true) call.dropped();
      return reply.then(answered, failed);
    } catch (thrown) {
      return failed(thrown);
    }
  }

  /** The values of such a request count towards the memory budget once it is parsed, as for any other. */
  function answerInner(body: Uint8Array, call: Call): Answer | Promise<Answer> {
    const charge = new Reservation(requestMemory);
    const dropped = () => charge[Symbol.dispose]();
    try {
      const answered = handle(parseReserved(body, charge, 0), { ...call, dropped }, inner);
      if (answered instanceof Promise) return answered.finally(dropped);
      dropped();
      return answered;
    } catch (thrown) {
      dropped();
      if (!(thrown instanceof WireError)) throw thrown;
      return answerOf("broken", errorReply(thrown.code, thrown.message));
    }
  }

  return (request, signal = NEVER, dropped = () => {}, more) => {
    for (const feature of features) {
      const refusal = feature.refusal?.(request);
      if (refusal !== undefined) return answerOf("refused", refusal, isForWallet(request));
    }
    return handle(request, { signal, dropped, more }, outer);
  };
}

function isForWallet(request: WireObject): boolean {
  return field(request, "apiRequest") !== undefined;
}

/** The wallet's clients distinguish replies by `apiResponse`. */
function answerOf(type: string, reply: Reply | PreparedReply, isWallets = false): Answer {
  if (!isWallets || reply instanceof PreparedReply || !isErrorReply(reply)) return { type, reply };
  return { type, reply: { apiResponse: "errorResponse", ...reply } };
}

function unknownReply(name: unknown, field: string, among: Targets): Reply {
  const known = [...among.keys()].join(", ");
  if (name !== undefined) return errorReply("unknown_type", `Known values of ${field}: ${known}`);
  return errorReply("missing_fields", `Field ${field} is missing; known: ${known}`);
}

/** Codes of errors whose messages the client may see. */
const OWN_CODES = ["rekey_required", "key_not_allowed", "invalid_payload"] as const;

/** The reply to an error of any request; undefined for an unexpected one. */
function replyTo(thrown: unknown): Reply | undefined {
  if (thrown instanceof WireError) return errorReply(thrown.code, thrown.message);
  if (!(thrown instanceof EnclaveError)) return undefined;
  // The client has disconnected.
  if (thrown.code === "abandoned") return errorReply("timeout", thrown.message);
  const code = OWN_CODES.find((own) => own === thrown.code);
  return code && errorReply(code, thrown.message);
}

/** The reply has a fixed message; only the log has the cause. */
function internalError(thrown: unknown, type: string, log: Log): Reply {
  log("error", "internal_error", { type, reason: messageOf(thrown), at: positionOf(thrown) });
  return errorReply("internal_error", "The request failed inside; denclavectl client logs says why");
}
