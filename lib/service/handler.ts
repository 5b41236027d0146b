/**
 * What a connection asks of the services behind it: a request goes in, an answer comes out.
 *
 * @module
 */
import type { JsonPiece } from "../wire/framing.ts";
import type { Reply, WireObject } from "../wire/messages.ts";

/** A reply that is JSON text already, in pieces: spares a large string a second pass. */
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

/** Answers a request; the signal says that nobody waits for the answer any more. Never throws or rejects. */
export type Handler = (request: WireObject, signal?: AbortSignal) => Answer | Promise<Answer>;
