/**
 * `enclave.yaml`: what goes into an image, as a file. Its names are those of the options of `denclavectl eif build`; paths are relative to it.
 *
 * Needs read permission.
 *
 * @module
 */
import { messageOf } from "../errors.ts";
import { parse } from "../config/deps/yaml.ts";
import { EifError } from "./errors.ts";

const MAX_MANIFEST_LENGTH = 64 * 1024;
const MAX_ALIASES = 10;

/** What a build is told, by manifest or options. */
export interface BuildSettings {
  readonly output?: string;
  readonly arch?: string;
  readonly kernel?: string;
  readonly cmdline?: string;
  readonly ramdisks?: readonly string[];
  readonly binary?: string;
  readonly lib_dir?: string;
  readonly install_dir?: string;
  readonly ca_bundle?: string;
  readonly all_certificates?: boolean;
  readonly sysroot?: string;
  readonly blobs?: string;
  readonly init?: string;
  readonly nsm?: string;
  readonly cmd?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Path in the image to path of the file. */
  readonly files?: Readonly<Record<string, string>>;
  readonly compress?: string;
  readonly sign?: string;
  readonly cert?: string;
  readonly name?: string;
  readonly image_version?: string;
  readonly source_date_epoch?: number;
}

type Kind = "text" | "path" | "paths" | "texts" | "map" | "paths by name" | "switch" | "number";

const KINDS: Readonly<Record<keyof BuildSettings, Kind>> = {
  output: "path",
  arch: "text",
  kernel: "path",
  cmdline: "text",
  ramdisks: "paths",
  binary: "path",
  lib_dir: "path",
  install_dir: "text",
  ca_bundle: "path",
  all_certificates: "switch",
  sysroot: "path",
  blobs: "path",
  init: "path",
  nsm: "path",
  cmd: "texts",
  env: "map",
  files: "paths by name",
  compress: "text",
  sign: "path",
  cert: "path",
  name: "text",
  image_version: "text",
  source_date_epoch: "number",
};

const EXPECTED: Readonly<Record<Kind, string>> = {
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

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value as its kind has it; undefined when it is of another. */
function read(kind: Kind, value: unknown, at: (path: string) => string): unknown {
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
      if (!isRecord(value) || !isTexts(Object.values(value))) return undefined;
      const entries = Object.entries(value).map((
        [name, text],
      ) => [name, kind === "map" ? text : at(String(text))]);
      return Object.fromEntries(entries);
    }
    case "switch":
      return typeof value === "boolean" ? value : undefined;
    case "number":
      return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
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
  if (!isRecord(value)) throw refuse("it is not a list of names and values");
  const at = (path: string) => path.startsWith("/") ? path : `${folder}/${path}`;
  const settings: Record<string, unknown> = {};
  for (const [key, given] of Object.entries(value)) {
    if (!Object.hasOwn(KINDS, key)) {
      throw new EifError("eif_input", `${name}: there is no ${JSON.stringify(key)}`, {
        hint: `Its names: ${Object.keys(KINDS).join(", ")}.`,
      });
    }
    const kind = KINDS[key as keyof BuildSettings];
    settings[key] = read(kind, given, at);
    if (settings[key] === undefined) throw refuse(`${key} should be ${EXPECTED[kind]}`);
  }
  return settings as BuildSettings;
}

/** Reads a manifest's file. @throws {EifError} `eif_input`, `eif_unreadable`. */
export async function readManifest(path: string): Promise<BuildSettings> {
  let text: string;
  try {
    const { size, isFile } = await Deno.stat(path);
    if (!isFile || size > MAX_MANIFEST_LENGTH) throw new RangeError("it is no file, or too long");
    text = await Deno.readTextFile(path);
  } catch (thrown) {
    throw new EifError("eif_unreadable", `Cannot read ${path}: ${messageOf(thrown)}`, { cause: thrown });
  }
  const slash = path.lastIndexOf("/");
  return parseManifest(text, path, slash < 0 ? "." : path.slice(0, slash));
}
