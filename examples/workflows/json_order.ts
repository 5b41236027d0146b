/**
 * JSON in, JSON out: checks an order field by field and returns its total. Error messages contain nothing of the order.
 *
 * @module
 */
import { type WorkflowContext, WorkflowError } from "../../lib/workflow_context.ts";

/** A line of an order. */
interface Line {
  readonly quantity: number;
  /** Cents. */
  readonly price: number;
}

const MAX_LINES = 100;
const decoder = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

function parseJson(plaintext: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(plaintext));
  } catch {
    throw new WorkflowError("not_json", "The order must be JSON");
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function parseLines(input: unknown): readonly Line[] {
  const lines: unknown = typeof input === "object" && input !== null && "lines" in input
    ? input.lines
    : undefined;
  if (!Array.isArray(lines) || lines.length === 0 || lines.length > MAX_LINES) {
    throw new WorkflowError("lines", `Field lines must be an array of 1 to ${MAX_LINES}`);
  }
  return lines.map((line: unknown, index) => {
    if (
      typeof line === "object" && line !== null && "quantity" in line && "price" in line &&
      isCount(line.quantity) && isCount(line.price)
    ) {
      return { quantity: line.quantity, price: line.price };
    }
    throw new WorkflowError("line", `Field lines[${index}] must be {quantity, price}, both whole numbers`);
  });
}

/** `{"lines":[{"quantity":2,"price":150}]}` gives `{"total":300}`. */
export function workflow(
  plaintext: Uint8Array<ArrayBuffer>,
  { log, requestId }: WorkflowContext,
): Uint8Array<ArrayBuffer> {
  const lines = parseLines(parseJson(plaintext));
  const total = lines.reduce((sum, { quantity, price }) => sum + quantity * price, 0);
  if (!Number.isSafeInteger(total)) throw new WorkflowError("total", "The total is too large");
  log("info", "order", { request: requestId, lines: lines.length });
  return encoder.encode(JSON.stringify({ total }));
}
