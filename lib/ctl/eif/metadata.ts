/**
 * The metadata section: JSON that says how an image was made. It is not measured.
 *
 * @module
 */
import { field, isObject, type JsonObject } from "../../shared/json.ts";
import { EifError } from "./errors.ts";

/** Bytes of the largest section that is read; docker inspect's answer, which nitro-cli puts in, has some thousands. */
export const MAX_METADATA_LENGTH = 1024 * 1024;
/** serde_json's own limit, which AWS's tools read with. */
const MAX_DEPTH = 127;

/** A JSON value. */
type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Who made an image, and when. */
interface BuildMetadata {
  /** RFC 3339. */
  readonly BuildTime: string;
  readonly BuildTool: string;
  readonly BuildToolVersion: string;
  readonly OperatingSystem: string;
  readonly KernelVersion: string;
}

/** The section, with the names that it has in the file. */
export interface EifMetadata {
  readonly ImageName: string;
  readonly ImageVersion: string;
  readonly BuildMetadata: BuildMetadata;
  readonly DockerInfo: Json;
  readonly CustomMetadata: Json;
}

/** As AWS's tools write it: no white space, names in this order. */
export function encodeMetadata(metadata: EifMetadata): Uint8Array<ArrayBuffer> {
  const { ImageName, ImageVersion, BuildMetadata, DockerInfo, CustomMetadata } = metadata;
  const { BuildTime, BuildTool, BuildToolVersion, OperatingSystem, KernelVersion } = BuildMetadata;
  return new TextEncoder().encode(JSON.stringify({
    ImageName,
    ImageVersion,
    BuildMetadata: { BuildTime, BuildTool, BuildToolVersion, OperatingSystem, KernelVersion },
    DockerInfo,
    CustomMetadata,
  }));
}

/** How deep arrays and objects of a text are within one another. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (inString) {
      if (character === "\\") at++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === "[" || character === "{") deepest = Math.max(deepest, ++depth);
    else if (character === "]" || character === "}") depth--;
  }
  return deepest;
}

/**
 * Reads the section.
 *
 * @param name of the file, for the message
 * @throws {EifError} `eif_metadata`.
 */
export function decodeMetadata(bytes: Uint8Array, name: string): EifMetadata {
  const refuse = (why: string, cause?: unknown) =>
    new EifError("eif_metadata", `${name}: its metadata ${why}`, { cause });
  let value: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (depthOf(text) > MAX_DEPTH) throw new SyntaxError(`it is deeper than ${MAX_DEPTH}`);
    value = JSON.parse(text);
  } catch (thrown) {
    throw refuse("are not JSON", thrown);
  }
  const record = (from: unknown, what: string): JsonObject => {
    if (!isObject(from)) throw refuse(`lack ${what}, an object`);
    return from;
  };
  const text = (from: JsonObject, name: string): string => {
    const found = field(from, name);
    if (typeof found !== "string") throw refuse(`lack ${name}, a text`);
    return found;
  };
  const whole = record(value, "the names");
  const build = record(field(whole, "BuildMetadata"), "BuildMetadata");
  return {
    ImageName: text(whole, "ImageName"),
    ImageVersion: text(whole, "ImageVersion"),
    BuildMetadata: {
      BuildTime: text(build, "BuildTime"),
      BuildTool: text(build, "BuildTool"),
      BuildToolVersion: text(build, "BuildToolVersion"),
      OperatingSystem: text(build, "OperatingSystem"),
      KernelVersion: text(build, "KernelVersion"),
    },
    DockerInfo: (field(whole, "DockerInfo") ?? null) as Json,
    CustomMetadata: (field(whole, "CustomMetadata") ?? null) as Json,
  };
}
