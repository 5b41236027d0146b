/**
 * `enclave.yaml`: what goes into an image, as a file. Its names are those of the options of `denclavectl eif build`; paths are relative to it.
 *
 * Needs read permission.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import { isObject } from "../../shared/json.ts";
import { parse } from "../config/deps/yaml.ts";
import { EifError } from "./errors.ts";
import { type BuildSettings, type Setting, type SettingName, SETTINGS } from "./settings.ts";

const MAX_MANIFEST_LENGTH = 64 * 1024;
const MAX_ALIASES = 10;

const EXPECTED: Readonly<Record<Setting["kind"], string>> = {
  text: "a text",
  path: "a path",
  paths: "a list of paths",
  texts: "a list of texts",
  map: "names with a text each",
  "paths by name": "paths in the image with a path each",
  switch: "true or false",
  number: "a whole number",
};

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** A value as its kind has it; undefined when it is of another. */
function read(
  { kind, max = Number.MAX_SAFE_INTEGER }: Setting,
  value: unknown,
  at: (path: string) => string,
): unknown {
  switch (kind) {
    case "text":
      return typeof value === "string" ? value : undefined;
    case "path":
      return typeof value === "string" && value !== "" ? at(value) : undefined;
    case "paths":
      return isTexts(value) ? value.map(at) : undefined;
    case "texts":
      return isTexts(value) ? value : undefined;
    case "map":
    case "paths by name": {
      if (!isObject(value) || !isTexts(Object.values(value))) return undefined;
      const entries = Object.entries(value).map((
        [name, text],
      ) => [name, kind === "map" ? text : at(String(text))]);
      return Object.fromEntries(entries);
    }
    case "switch":
      return typeof value === "boolean" ? value : undefined;
    case "number":
      return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max
        ? value
        : undefined;
    default:
      return kind satisfies never;
  }
}

/**
 * Reads a manifest's text.
 *
 * @param name of the file, for the message
 * @param folder that its paths are relative to
 * @throws {EifError} `eif_input` that names the key.
 */
export function parseManifest(text: string, name: string, folder: string): BuildSettings {
  const refuse = (why: string, cause?: unknown) => new EifError("eif_input", `${name}: ${why}`, { cause });
  let value: unknown;
  try {
    if (text.length > MAX_MANIFEST_LENGTH) throw new RangeError("it is too long");
    value = parse(text, { maxAliasCount: MAX_ALIASES, schema: "core" });
  } catch (thrown) {
    throw refuse(messageOf(thrown).split("\n", 1)[0] ?? "", thrown);
  }
  if (!isObject(value)) throw refuse("it is not a list of names and values");
  const at = (path: string) => path.startsWith("/") ? path : `${folder}/${path}`;
  const settings: Record<string, unknown> = {};
  for (const [key, given] of Object.entries(value)) {
    if (!Object.hasOwn(SETTINGS, key)) {
      throw new EifError("eif_input", `${name}: there is no ${JSON.stringify(key)}`, {
        hint: `Its names: ${Object.keys(SETTINGS).join(", ")}.`,
      });
    }
    const setting: Setting = SETTINGS[key as SettingName];
    settings[key] = read(setting, given, at);
    if (settings[key] === undefined) {
      throw refuse(
        `${key} should be ${EXPECTED[setting.kind]}${
          setting.max === undefined ? "" : ` up to ${setting.max}`
        }`,
      );
    }
  }
  return settings as BuildSettings;
}

/** Reads a manifest's file. @throws {EifError} `eif_input`, `eif_unreadable`. */
export async function readManifest(path: string): Promise<BuildSettings> {
  let text: string;
  try {
    const { size, isFile } = await Deno.stat(path);
    if (!isFile || size > MAX_MANIFEST_LENGTH) throw new RangeError("it is not a file, or too long");
    text = await Deno.readTextFile(path);
  } catch (thrown) {
    throw new EifError("eif_unreadable", `Cannot read ${path}: ${messageOf(thrown)}`, { cause: thrown });
  }
  const slash = path.lastIndexOf("/");
  return parseManifest(text, path, slash < 0 ? "." : path.slice(0, slash));
}
