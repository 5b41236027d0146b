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

/**
 * Answers a request. Never throws or rejects.
 *
 * @param signal says that nobody waits for the answer any more
 * @param dropped is called when all that is still held of the request is a few small fields, so that its memory counts no more
 */
export type Handler = (
  request: WireObject,
  signal?: AbortSignal,
  dropped?: () => void,
) => Answer | Promise<Answer>;
