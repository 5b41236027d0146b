/**
 * The last lines that a child printed on stderr: few, short, redacted.
 *
 * @module
 */

const MAX_LINES = 8;
const MAX_LINE_LENGTH = 200;

/** Removes what could be a key or a token. Error names contain underscores and are kept. */
function redact(line: string): string {
  return line.replace(/\b(?:AKIA|ASIA)[A-Z0-9]{8,}|[A-Za-z0-9+/=]{24,}/g, "[redacted]");
}

/** Keeps the last lines of a stream. */
export class LastLines {
  #lines: string[] = [];
  #partial = "";

  /** Adds what was printed. */
  add(text: string): void {
    const pieces = (this.#partial + text).split("\n");
    const rest = pieces.pop() ?? "";
    // Redacted before it is cut, since a part of a key might be too short to be recognised.
    this.#partial = rest.length > MAX_LINE_LENGTH ? redact(rest).slice(-MAX_LINE_LENGTH) : rest;
    for (const piece of pieces) this.#lines.push(redact(piece.trim()).slice(0, MAX_LINE_LENGTH));
    this.#lines = this.#lines.filter((line) => line !== "").slice(-MAX_LINES);
  }

  /** Forgets them. */
  clear(): void {
    this.#lines = [];
    this.#partial = "";
  }

  /** The lines, separated by semicolons. */
  toString(): string {
    return [...this.#lines, this.#partial].filter((line) => line !== "").map(redact).join("; ");
  }
}
