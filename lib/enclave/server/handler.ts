/**
 * The interface between connections and the services: a request in, a reply out.
 *
 * @module
 */
import type { JsonPiece } from "../../shared/wire/framing.ts";
import type { Reply, WireObject } from "../../shared/wire/messages.ts";

/** A reply that already is JSON text, in pieces: this saves encoding a large string again. */
export class PreparedReply {
  readonly json: readonly JsonPiece[];
  constructor(json: readonly JsonPiece[]) {
    this.json = json;
  }
}

/** What a request was, for the log and the metrics, and what to answer. */
export interface Answer {
  readonly type: string;
  readonly reply: Reply | PreparedReply;
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
