/** Names that programs and operators depend on: a lost or renamed one fails here, and so does a new one until it is added to the list. */
import { assertEquals } from "@std/assert";
import * as product from "./product.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

async function sources(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}${path}`)) {
    if (isDirectory) found.push(...await sources(`${path}/${name}`));
    else if (name.endsWith(".ts")) found.push(await Deno.readTextFile(`${ROOT}${path}/${name}`));
  }
  return found;
}

const text = [...await sources("lib"), ...await sources("ffi"), await Deno.readTextFile(`${ROOT}main.ts`)]
  .join("\n");
const sorted = (names: Iterable<string>) => [...new Set(names)].sort();
const matches = (pattern: RegExp, among = text) => [...among.matchAll(pattern)].map(([, name = ""]) => name);
const names: Readonly<Record<string, string[]>> = await product.readGold("names.json");

/** The strings that an expression may give as a code, not those that it compares with or looks up. */
const literals = (expression: string) => matches(/(?<!=== |\[)"([a-z_]+)"(?! in )/g, expression);

const FOUND: Readonly<Record<string, readonly string[]>> = {
  events: [
    ...matches(/\blog\(\s*(?:"\w+"|\w+\(\w+\)),\s*"([a-z_]+)"/g),
    ...matches(/\bevent: "([a-z_]+)"/g),
    ...matches(/#make\(time, "\w+", "([a-z_]+)"/g),
    // Those of the children, in tables.
    ...matches(/\b(?:hung|lost|restart): "([a-z_]+)"/g),
  ],
  codes: [
    ...[
      ...matches(/\bcode(?::| =)([^,;}\n]*)/g),
      ...matches(/\b(?:type \w*Code|const SDK_ERROR_CODES) =([^;]*);/g, text.replace(/\/\/.*/g, "")),
    ].flatMap(literals),
    // Those with a hint each.
    ...matches(/\bconst HINTS = \{([^]*?)\n\} as const/g).flatMap((hints) => matches(/^ {2}(\w+):/gm, hints)),
  ],
  replyCodes: Object.keys(product.ERROR_CODES),
  requests: [...Object.keys(product.REQUESTS), ...Object.keys(product.WALLET_REQUESTS)],
};
for (const [kind, found] of Object.entries(FOUND)) {
  Deno.test(`gold: names of ${kind}`, () => assertEquals(sorted(found), names[kind]));
}

Deno.test("gold: names of metrics and of the fields of health", async () => {
  await using service = await product.startGold({});
  const health = await service.ask({ type: "health" });
  const metrics = await service.ask({ type: "metrics" });
  const { requests } = metrics as { requests: Record<string, object> };
  assertEquals(sorted(Object.keys(health)), names["health"]);
  assertEquals(sorted(Object.keys(metrics)), names["metrics"]);
  assertEquals(Object.keys(requests), ["health"]);
  assertEquals(sorted(Object.keys(requests["health"] ?? {})), names["requestMetrics"]);
});
