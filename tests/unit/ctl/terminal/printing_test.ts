/** The place where `denclavectl` prints: what is escaped, colours, data, a progress line. */
import { assertEquals } from "@std/assert";
import { oneLine, openIo, printable } from "../../../../lib/ctl/terminal/printing.ts";

function terminal(
  { isTerminal = true, noColour }: { readonly isTerminal?: boolean; readonly noColour?: string } = {},
) {
  const written = { stdout: "", stderr: "" };
  const io = openIo({
    write: (to, text) => void (written[to] += text),
    isTerminal: () => isTerminal,
    env: (name) => name === "NO_COLOR" ? noColour : undefined,
    untilSignal: () => Promise.resolve("SIGTERM"),
  });
  return { io, written };
}

const ESCAPED: readonly (readonly [string, string, string])[] = [
  ["escape sequences", "a\x1b[2Jb\x07", "a\\u001b[2Jb\\u0007"],
  ["a sequence of eight bits, and a delete", "\x9b31m\x7f", "\\u009b31m\\u007f"],
  ["a carriage return", "good\rbad", "good\\u000dbad"],
  ["marks that turn text", "\u202egnp\u2066\u061c", "\\u202egnp\\u2066\\u061c"],
  ["what has no width", "a\u200bb\u034fc\ufeffd\ufe0f", "a\\u200bb\\u034fc\\ufeffd\\ufe0f"],
  ["separators of lines and paragraphs", "\u2028\u2029\x85", "\\u2028\\u2029\\u0085"],
  ["tags beyond 16 bits", "\u{e0041}", "\\udb40\\udc41"],
  ["half of a surrogate pair", "\ud800x", "\\ud800x"],
];
for (const [what, text, escaped] of ESCAPED) {
  Deno.test(`${what}: escaped, and the same value within JSON`, () => {
    assertEquals([printable(text), oneLine(text)], [escaped, escaped]);
    assertEquals(JSON.parse(printable(JSON.stringify({ text }))), { text });
  });
}

Deno.test("lines stay lines, but not within a value; other text is printed as it is", () => {
  assertEquals([printable("a\n\tb"), oneLine("a\n\tb")], ["a\n\tb", "a\\u000a\\u0009b"]);
  const text = "→ ‖ … é ß 漢字 🔑 0x1b \\u001b";
  assertEquals([printable(text), oneLine(text)], [text, text]);
});

Deno.test("colours are the program's own: on a terminal, without NO_COLOR, and not those of a value", () => {
  const text = [{ colour: "red", text: "FAIL\x1b[0m" }, " \x1b[32mok\n"] as const;
  for (
    const [options, expected] of [
      [{}, "\x1b[31mFAIL\\u001b[0m\x1b[0m \\u001b[32mok\n"],
      [{ noColour: "1" }, "FAIL\\u001b[0m \\u001b[32mok\n"],
      [{ isTerminal: false }, "FAIL\\u001b[0m \\u001b[32mok\n"],
    ] as const
  ) {
    const { io, written } = terminal(options);
    io.stdout(text);
    io.stderr(text);
    assertEquals(written, { stdout: expected, stderr: expected });
  }
});

Deno.test("data go into a pipe as they are, and are escaped on a terminal", () => {
  const data = "\ufeffa\x1b[2J\r\n";
  const piped = terminal({ isTerminal: false });
  piped.io.data(data);
  assertEquals(piped.written.stdout, data);
  const shown = terminal();
  shown.io.data(data);
  assertEquals(shown.written.stdout, "\\ufeffa\\u001b[2J\\u000d\n");
});

Deno.test("a progress line begins at the margin, on a terminal alone, and is one line", () => {
  const { io, written } = terminal();
  io.overwrite?.("a\nb");
  assertEquals(written, { stdout: "", stderr: "\ra\\u000ab" });
  assertEquals(terminal({ isTerminal: false }).io.overwrite, undefined);
});

Deno.test("no module of denclavectl prints but through this place", async () => {
  for (const folder of ["commands", "image", "terminal"]) {
    const place = new URL(`../../../../lib/ctl/${folder}/`, import.meta.url);
    for await (const { name } of Deno.readDir(place)) {
      const source = await Deno.readTextFile(new URL(name, place));
      assertEquals(
        source.match(/\bconsole\.\w+\(|Deno\.std(?:out|err)\b|\\x1b\[/g)?.length ?? 0,
        name === "printing.ts" ? 2 : 0,
        name,
      );
    }
  }
});
