/**
 * Finds and opens the SDK's shared libraries: by absolute path, in a stated order, without reading the disk (trying
 * `dlopen` is enough, and needs only the FFI permission on those files).
 *
 * @module
 */
import { messageOf } from "../lib/shared/errors.ts";
import { type SdkError, sdkError } from "./errors.ts";
import { LIBRARY_FILES } from "./constants.ts";
import { COMMON_SYMBOLS, SDK_SYMBOLS, type Symbols } from "./symbols.ts";

/** Where the libraries are looked for when no folder is named, after the folder of a compiled binary itself. */
export const DEFAULT_LIBRARY_DIRS: readonly string[] = ["/app", "/usr/local/lib", "/usr/lib64", "/usr/lib"];

/** The shape of `Deno.dlopen`: tests pass a mock that the tables type. */
export type Dlopen = <const S extends Deno.ForeignLibraryInterface>(
  filename: string,
  symbols: S,
) => Deno.DynamicLibrary<S>;

/** The libraries, open until the process ends: a thread of the SDK may be in their code. */
export interface OpenLibraries {
  /** The folder that they were found in. */
  readonly directory: string;
  /** Their functions. */
  readonly symbols: Symbols;
}

/** Options of {@link openLibraries}. */
export interface OpenLibrariesOptions {
  /** An absolute folder; if given, it is the only one searched. */
  readonly libraryDir?: string | undefined;
  /** `Deno.dlopen`, or a mock. */
  readonly dlopen?: Dlopen | undefined;
}

function candidateDirs(libraryDir: string | undefined): readonly string[] {
  if (libraryDir !== undefined) {
    if (!libraryDir.startsWith("/")) {
      const message = `Cannot open the SDK from ${JSON.stringify(libraryDir)}: the path is not absolute`;
      throw sdkError("sdk_library", message, {
        symbol: "dlopen",
        hint: "Give --library-dir an absolute path.",
      });
    }
    return [libraryDir.replace(/(?<=.)\/+$/, "")];
  }
  if (!Deno.build.standalone) return DEFAULT_LIBRARY_DIRS;
  const own = Deno.execPath().replace(/\/[^/]*$/, "");
  return [own, ...DEFAULT_LIBRARY_DIRS.filter((directory) => directory !== own)];
}

/** Why a file could not be opened, and what to do where it is there and cannot be used. */
type Failure = { readonly reason: string; readonly hint?: string; readonly symbol?: string };

const REFUSED = "not among the files that --allow-ffi names";
const UNUSABLE =
  "The file is there but not usable: build both libraries from SDK 0.4.2 or later for this machine and put them side by side.";
const NEEDS_ANOTHER =
  "It needs that file: put it into a folder that the loader searches (/lib64 or /usr/lib64), or build the SDK's library with a RUNPATH of $ORIGIN and put it beside. A libnsm.so without a SONAME is not found by having been opened before.";

function explain(path: string, thrown: unknown): Failure {
  const message = messageOf(thrown);
  if (thrown instanceof Deno.errors.NotCapable) return { reason: REFUSED };
  const symbol = /undefined symbol: (\w+)/.exec(message)?.[1];
  if (symbol !== undefined) return { reason: `lacks the symbol ${symbol}`, hint: UNUSABLE, symbol };
  if (message.includes("No such file or directory") && message.includes(path)) {
    return { reason: "no such file" };
  }
  const needed = /(\S+\.so\S*): cannot open shared object file/.exec(message)?.[1];
  return needed === undefined
    ? { reason: message.replace(/^Could not open library: /, ""), hint: UNUSABLE }
    : { reason: `the loader does not find ${needed}`, hint: NEEDS_ANOTHER };
}

/** What to do where there are no files. */
function hintFor(isRefused: boolean): string {
  const files = `${LIBRARY_FILES.common} and ${LIBRARY_FILES.sdk}`;
  if (Deno.build.standalone) {
    return `A compiled binary can open them only in the folder that it was compiled for (deno task compile --install-dir): put ${files} beside it, and leave --library-dir out.`;
  }
  return isRefused
    ? "Allow FFI on the files: --allow-ffi=<their absolute paths>."
    : `Put ${files} beside the binary, or name their folder with --library-dir.`;
}

/**
 * Opens libnsm (where there is one), aws-c-common and the SDK, in that order, from the first folder that has them.
 *
 * @throws {SdkError} `sdk_library` with every path that was tried and, if that is the cause, the missing symbol.
 */
export function openLibraries(
  { libraryDir, dlopen = Deno.dlopen }: OpenLibrariesOptions = {},
): OpenLibraries {
  const tried: string[] = [];
  let isRefused = true;
  for (const directory of candidateDirs(libraryDir)) {
    const path = (file: string) => directory === "/" ? `/${file}` : `${directory}/${file}`;
    using opened = new DisposableStack();
    let current = path(LIBRARY_FILES.common);
    try {
      // Kept open because the SDK needs it, where it is a library of its own.
      const nsm = openOptional(dlopen, path(LIBRARY_FILES.nsm));
      opened.defer(() => nsm?.close());
      const common = dlopen(current, COMMON_SYMBOLS);
      opened.defer(() => common.close());
      current = path(LIBRARY_FILES.sdk);
      const sdk = dlopen(current, SDK_SYMBOLS);
      opened.defer(() => sdk.close());
      opened.move();
      return { directory, symbols: { ...common.symbols, ...sdk.symbols } };
    } catch (thrown) {
      const { reason, hint, symbol } = explain(current, thrown);
      tried.push(`\n  ${current}: ${reason}`);
      isRefused &&= reason === REFUSED;
      // An unusable file ends the search: another copy must not be used silently.
      if (hint !== undefined) throw notOpened(tried, hint, symbol);
    }
  }
  throw notOpened(tried, hintFor(isRefused));
}

function notOpened(tried: readonly string[], hint: string, symbol = "dlopen"): SdkError {
  const message = `Cannot open the AWS Nitro Enclaves SDK. Tried, in this order:${tried.join("")}`;
  return sdkError("sdk_library", message, { symbol, hint });
}

function openOptional(dlopen: Dlopen, path: string): { close(): void } | undefined {
  try {
    return dlopen(path, {});
  } catch {
    return undefined;
  }
}
