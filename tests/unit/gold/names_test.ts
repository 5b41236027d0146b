/** Names that programs and operators depend on, sorted: a lost or renamed one fails here, as does one that nobody wrote down. */
import { assertEquals } from "@std/assert";
import { ERROR_CODES, readGold, REQUESTS, startGold, WALLET_REQUESTS } from "./product.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

async function sources(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}${path}`)) {
    const inner = `${path}/${name}`;
    if (isDirectory) found.push(...await sources(inner));
    else if (name.endsWith(".ts")) found.push(await Deno.readTextFile(`${ROOT}${inner}`));
  }
  return found;
}

const text = [...await sources("lib"), ...await sources("ffi"), await Deno.readTextFile(`${ROOT}main.ts`)]
  .join("\n");
const sorted = (names: Iterable<string>) => [...new Set(names)].sort();
const matches = (pattern: RegExp, among = text) => [...among.matchAll(pattern)].map(([, name = ""]) => name);
const names: Readonly<Record<string, string[]>> = await readGold("names.json");

/** The strings that an expression may give as a code, not those that it compares with or looks up. */
const literals = (expression: string) => matches(/(?<!=== |\[)"([a-z_]+)"(?! in )/g, expression);

Deno.test("gold: names of log events", () => {
  const events = [
    ...matches(/\blog\(\s*(?:"\w+"|\w+\(\w+\)),\s*"([a-z_]+)"/g),
    ...matches(/\bevent: "([a-z_]+)"/g),
    ...matches(/\bend\("([a-z_]+)"/g),
  ];
  assertEquals(sorted(events), names["events"]);
});

Deno.test("gold: codes of errors", () => {
  const codes = [
    ...matches(/\bcode(?::| =)([^,;}\n]*)/g),
    ...matches(/\btype \w*Code =([^;]*);/g, text.replace(/\/\/.*/g, "")),
  ].flatMap(literals);
  assertEquals(sorted(codes), names["codes"]);
});

Deno.test("gold: codes of error replies", () =>
  assertEquals(sorted(Object.keys(ERROR_CODES)), names["replyCodes"]));

Deno.test("gold: names of requests", () => {
  assertEquals(sorted([...Object.keys(REQUESTS), ...Object.keys(WALLET_REQUESTS)]), names["requests"]);
});

Deno.test("gold: names of metrics and of the fields of health", async () => {
  await using service = await startGold({});
  const health = await service.ask({ type: "health" });
  const metrics = await service.ask({ type: "metrics" });
  const { requests } = metrics as { requests: Record<string, object> };
  assertEquals(sorted(Object.keys(health)), names["health"]);
  assertEquals(sorted(Object.keys(metrics)), names["metrics"]);
  assertEquals(Object.keys(requests), ["health"]);
  assertEquals(sorted(Object.keys(requests["health"] ?? {})), names["requestMetrics"]);
});
