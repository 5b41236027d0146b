/**
 * The messages between the service and a workflow process: kind (1 byte), id (8 bytes), content.
 *
 * @module
 */

import { HEADER_LENGTH, newFrame, readNumber, writeNumber } from "../../children/frames.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const ID_LENGTH = 8;
/** Bytes before the content. */
const PREFIX_LENGTH = 1 + ID_LENGTH;

/** What a message is. The settings, the reasons and the log lines are JSON; plaintexts and results are bytes. */
export const KIND = {
  /** To the process: its settings ({@link WorkflowSettings}). It answers `ready` or `unusable`. */
  open: 0,
  /** To the process: the plaintext of a request. */
  run: 1,
  /** To the process: nobody waits for this request any more. */
  abandon: 2,
  /** The workflow is loaded. */
  ready: 3,
  /** The process cannot run the workflow: `message`, `hint`. */
  unusable: 4,
  /** The workflow has begun to work on a request. */
  begun: 5,
  /** Its result. */
  result: 6,
  /** A `WorkflowError`: `code`, `words`. */
  refused: 7,
  /** Any other error: `class` and, which only a development service shows, `message` and `stack`. */
  failed: 8,
  /** A request that was abandoned before it began. */
  dropped: 9,
  /** A line for the log: `level`, `event`, `fields`. */
  log: 10,
} as const;

/** How a workflow process is set up. */
export interface WorkflowSettings {
  /** Memory that it may take beyond what it has before the workflow is loaded, bytes. */
  readonly memory: number;
  /** The largest result, bytes. */
  readonly maxResult: number;
  /** Whether it ends where the kernel's wall cannot be put up. */
  readonly requireWall: boolean;
}

/** Bytes that a frame has before a message's content. */
export const HEADROOM = HEADER_LENGTH + PREFIX_LENGTH;

/**
 * A frame with bytes.
 *
 * @param content copied, unless it is preceded by {@link HEADROOM} bytes of its own buffer: then the frame is that buffer
 */
export function bytesFrame(kind: number, id: number, content: Uint8Array = new Uint8Array(0)): Bytes {
  const { buffer, byteOffset, length } = content;
  const hasRoom = byteOffset === HEADROOM && buffer.byteLength === HEADROOM + length &&
    buffer instanceof ArrayBuffer;
  const frame = newFrame(PREFIX_LENGTH + length, hasRoom ? new Uint8Array(buffer) : undefined);
  if (!hasRoom) frame.set(content, HEADROOM);
  frame[HEADER_LENGTH] = kind;
  writeNumber(frame, HEADER_LENGTH + 1, ID_LENGTH, id);
  return frame;
}

/** A frame with JSON. */
export function jsonFrame(kind: number, id: number, content: object): Bytes {
  return bytesFrame(kind, id, new TextEncoder().encode(JSON.stringify(content)));
}

/** Its parts; the content is a view of the message. @throws {RangeError} when it is too short. */
export function partsOf(message: Bytes): Readonly<{ kind: number; id: number; content: Bytes }> {
  const [kind] = message;
  if (kind === undefined || message.length < PREFIX_LENGTH) throw new RangeError("the message is too short");
  return { kind, id: readNumber(message, 1, ID_LENGTH), content: message.subarray(PREFIX_LENGTH) };
}

/** The longest JSON that is read. Bytes. */
const MAX_JSON_LENGTH = 16 * 1024;

/** A message's JSON object; an empty one where it is none. */
export function jsonOf(content: Bytes): Readonly<Record<string, unknown>> {
  if (content.length > MAX_JSON_LENGTH) return {};
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(content));
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
  } catch {
    return {};
  }
}
