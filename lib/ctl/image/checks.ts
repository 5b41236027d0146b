/**
 * Finds what would keep an image of this program from working: libraries that the binary cannot open or use, a configuration that the service rejects, no
 * KMS key, no CA certificates for KMS, a folder or a port that the binary was not compiled for. lib/ctl/eif has the checks for any program.
 *
 * @module
 */
import { LIBRARY_FILES } from "../../../ffi/constants.ts";
import { AEAD_SYMBOLS, COMMON_SYMBOLS, SDK_SYMBOLS } from "../../../ffi/symbols.ts";
import { COMMON_OPTIONS, nearest, parseOptions, takeCommand, UsageError } from "../../shared/cli/options.ts";
import {
  FEATURES,
  KMSTOOL_COMMANDS,
  NITRO_OPTIONS,
  readNitroConfig,
  readServeConfig,
  SERVE_OPTIONS,
} from "../../shared/cli/serve_options.ts";
import {
  type ByteSource,
  EifError,
  exportsOf,
  type LoadedFile,
  missingSymbols,
  textPieces,
} from "../eif/mod.ts";
import { EnclaveError, messageOf } from "../../shared/errors.ts";
import { formatAddress } from "../../shared/wire/address.ts";
import { isFile } from "../../shared/files.ts";
import { selectCertificates } from "./trust_store.ts";

/** What to do without the SDK's libraries. */
export const LIBRARIES_HINT =
  "Build the AWS Nitro Enclaves SDK with shared libraries: docs/image.md says how.";

/** The SDK's libraries in a folder, in the order in which they are opened: both, and the NSM's where it is one of its own. */
export async function librariesIn(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of Object.values(LIBRARY_FILES)) {
    const path = `${folder}/${name}`;
    if (await isFile(path)) found.push(path);
    else if (name !== LIBRARY_FILES.nsm) {
      throw new EifError("library_missing", `Cannot find ${path}`, { hint: LIBRARIES_HINT });
    }
  }
  return found;
}

/** Where the marker of a compiled binary's permissions is, and how long they may be. */
const MARKER = '"permissions":{';
const MAX_PERMISSIONS_LENGTH = 64 * 1024;

/** What a compiled binary may do, as Deno wrote it into the binary. */
interface CompiledPermissions {
  /** `vsock:-1:5000` for any CID. */
  readonly net: readonly string[];
  /** Paths of the libraries that it may open. */
  readonly ffi: readonly string[];
  /** Paths of the programs that it may start. */
  readonly run: readonly string[];
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function parsePermissions(text: string): CompiledPermissions | undefined {
  // The object has no nested objects, so it ends at the first brace outside a string.
  const [json] = /^\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\}/.exec(text) ?? [];
  if (json === undefined) return undefined;
  try {
    const { allow_net, allow_ffi, allow_run } = JSON.parse(json) as Record<string, unknown>;
    // This project's binaries never have permission for every library.
    if (!isTexts(allow_ffi) || allow_ffi.length === 0) return undefined;
    return {
      net: isTexts(allow_net) ? allow_net : [],
      ffi: allow_ffi,
      run: isTexts(allow_run) ? allow_run : [],
    };
  } catch {
    return undefined;
  }
}

/** Finds the permissions in a compiled binary; undefined when `deno task compile` did not make it. */
export async function compiledPermissions(binary: ByteSource): Promise<CompiledPermissions | undefined> {
  for await (const text of textPieces(binary, MAX_PERMISSIONS_LENGTH)) {
    for (let found = text.indexOf(MARKER); found >= 0; found = text.indexOf(MARKER, found + 1)) {
      const permissions = parsePermissions(text.slice(found + MARKER.length - 1));
      if (permissions !== undefined) return permissions;
    }
  }
  return undefined;
}

/** Functions that the binary opens a library for, and those without which it does not start. */
const FUNCTIONS = [
  [LIBRARY_FILES.common, COMMON_SYMBOLS],
  [LIBRARY_FILES.sdk, SDK_SYMBOLS],
] as const satisfies readonly (readonly [string, Deno.ForeignLibraryInterface])[];

function requiredNames(symbols: Deno.ForeignLibraryInterface): readonly string[] {
  return Object.entries(symbols).filter(([, symbol]) => !("optional" in symbol && symbol.optional === true))
    .map(([name]) => name);
}

function libraryNamed(name: string, libraries: readonly LoadedFile[]): LoadedFile | undefined {
  return libraries.find(({ path }) => path.endsWith(`/${name}`));
}

function named(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(", ");
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}

/** Whether the SDK's libraries export AES-256-GCM of AWS-LC. */
export function exportsAead(loaded: readonly LoadedFile[]): boolean {
  const sdk = libraryNamed(LIBRARY_FILES.sdk, loaded);
  if (sdk === undefined) return false;
  const given = exportsOf(sdk.path, loaded);
  return Object.keys(AEAD_SYMBOLS).every((name) => given.has(name));
}

/**
 * What is wrong with the SDK's libraries.
 *
 * @param loaded as the loader loads them
 * @returns nothing when the binary can use them
 */
export function libraryProblems(
  { loaded, program, allowMissing = false }: {
    readonly loaded: readonly LoadedFile[];
    /** Its path in the image. */
    readonly program?: string | undefined;
    /** Not the functions that the binary opens: those that the libraries need themselves. */
    readonly allowMissing?: boolean;
  },
): readonly EifError[] {
  const problems: EifError[] = [];
  for (const [name, symbols] of FUNCTIONS) {
    const library = libraryNamed(name, loaded);
    if (library === undefined) continue;
    const given = exportsOf(library.path, loaded);
    const missing = requiredNames(symbols).filter((symbol) => !given.has(symbol));
    if (missing.length === 0) continue;
    problems.push(
      new EifError("symbol_missing", `${library.from} lacks ${named(missing)}`, {
        hint:
          "Build the AWS Nitro Enclaves SDK 0.4 with shared libraries that export its functions: docs/image.md says how.",
      }),
    );
  }
  for (const name of allowMissing ? [] : Object.values(LIBRARY_FILES)) {
    const library = libraryNamed(name, loaded);
    if (library === undefined) continue;
    const missing = missingSymbols(library.path, { loaded, program });
    if (missing.length === 0) continue;
    problems.push(
      new EifError(
        "symbol_missing",
        `${library.from} needs ${named(missing)}, which none of its libraries exports`,
        {
          hint:
            "Link it with the libraries that export them. --allow-missing-symbols accepts it as it is; calling a missing function ends the process.",
        },
      ),
    );
  }
  return problems;
}

/** What is checked of an image's program. */
interface ProgramChecks {
  /** Where it is on this machine. */
  readonly binary: ByteSource;
  /** Its path in the image. */
  readonly program: string;
  readonly libraries: readonly string[];
  readonly command: readonly string[] | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly allowNoKeys: boolean;
}

/**
 * Checks that the binary is compiled for the image, and that the service takes its configuration.
 *
 * @throws {EifError} `image_dead`.
 */
export async function checkProgram(checks: ProgramChecks): Promise<void> {
  const { program, binary } = checks;
  const permissions = await compiledPermissions(binary);
  if (permissions === undefined) {
    throw dead(
      `${binary.name} is not a binary that deno task compile made`,
      "Compile it, or give --allow-other-program for another program.",
    );
  }
  const paths = [
    ...permissions.run.includes(program) ? [] : [program],
    ...checks.libraries.filter((path) => !permissions.ffi.includes(path)),
  ];
  if (paths.length > 0) {
    throw dead(
      `${binary.name} was compiled for ${permissions.run.join(", ") || "no path"} and ${
        permissions.ffi.filter((path) => path.endsWith(`/${LIBRARY_FILES.sdk}`)).join(", ") || "no libraries"
      }, and cannot use ${paths.join(", ")}`,
      "Give the --install-dir and binary name that it was compiled with, or recompile it: deno task compile --install-dir DIR --output FILE.",
    );
  }
  checkConfiguration(checks, permissions);
}

function dead(message: string, hint: string, cause?: unknown): EifError {
  return new EifError("image_dead", message, { hint, cause });
}

const SPECS = [...SERVE_OPTIONS, ...NITRO_OPTIONS, ...COMMON_OPTIONS];

/** Checks the configuration with the service's own option table, as the binary does at start. */
function checkConfiguration(
  { program, command = [program], environment, allowNoKeys }: ProgramChecks,
  { net, ffi }: CompiledPermissions,
): void {
  const [first, ...argv] = command;
  if (first !== program) {
    throw dead(
      `The image would start ${first ?? "nothing"}, but the program is ${program}`,
      "Begin --cmd with the program's path, or leave it out.",
    );
  }
  checkNames(environment);
  const read = () => {
    const { command: named, rest } = takeCommand(argv, ["serve", "self-test", ...KMSTOOL_COMMANDS]);
    if (named !== undefined && named !== "serve") return undefined;
    const options = parseOptions(
      SPECS,
      rest,
      (name) => Object.hasOwn(environment, name) ? environment[name] : undefined,
    );
    const ends = ["help", "version"].find((name) => options.on(name));
    if (ends !== undefined) throw new UsageError(`--${ends} prints a text and ends`, "Leave it out.");
    const config = readServeConfig(options);
    return { config, libraryDir: readNitroConfig(options, config.limits.requestMs).libraryDir };
  };
  let found;
  try {
    found = read();
  } catch (thrown) {
    if (!(thrown instanceof EnclaveError)) throw thrown;
    throw dead(`The service would not start: ${messageOf(thrown)}`, thrown.hint ?? "", thrown);
  }
  if (found === undefined) return;
  const { config: { features, keys, address }, libraryDir } = found;
  if (features === undefined) {
    throw dead(
      "The image names no features, so it would serve all of them",
      `Give --env FEATURES=${FEATURES.join(",")}, or only those that it is for.`,
    );
  }
  if (keys.length === 0 && !allowNoKeys) {
    throw dead(
      "The image names no KMS key, so every request would be refused",
      "Give --env KMS_KEYS=<key arn>, or --allow-no-kms-keys to build the image without one.",
    );
  }
  if (libraryDir !== undefined && !ffi.includes(`${libraryDir.replace(/\/+$/, "")}/${LIBRARY_FILES.sdk}`)) {
    throw dead(
      `The service would look for the SDK's libraries in ${libraryDir}, but may open only ${ffi.join(", ")}`,
      "Leave --library-dir and DENCLAVE_LIBRARY_DIR out.",
    );
  }
  // A permission for TCP has no scheme, and may consist of the host only.
  const listen = formatAddress(address).replace(/^tcp:/, "");
  const host = address.transport === "tcp" ? listen.replace(/:[0-9]+$/, "") : listen;
  if (!net.includes(listen) && !net.includes(host)) {
    throw dead(
      `The service would listen on ${formatAddress(address)}, but was compiled for ${
        net.join(", ") || "no address"
      }`,
      "Give the port that it was compiled for, or recompile it: deno task compile --port PORT.",
    );
  }
}

/**
 * Variables with which Deno starts no process unless it may run every program. The service calls KMS in
 * processes of its own.
 */
const LOADER_VARIABLE = /^(?:DY)?LD_/i;

/**
 * Rejects the loader's variables, and a variable whose name is nearly an option's: the service would ignore
 * it.
 */
function checkNames(environment: Readonly<Record<string, string>>): void {
  const known = SPECS.flatMap((spec) => "env" in spec ? [spec.env] : []);
  for (const name of Object.keys(environment)) {
    if (LOADER_VARIABLE.test(name)) {
      throw dead(
        `The service could not start its SDK processes: Deno refuses to start any with ${name} set`,
        "Leave it out: the SDK's libraries are opened by their paths, and what they need is found beside them.",
      );
    }
    const meant = known.some((one) => one === name) ? undefined : nearest(name, known);
    // Short names resemble many others.
    if (meant === undefined || name.length < 6) continue;
    throw dead(
      `The service does not read the variable ${JSON.stringify(name)}`,
      `Did you mean ${meant}? If it is for something else, choose a less similar name.`,
    );
  }
}

/**
 * The CA certificates that go into the image.
 *
 * @param bundle PEM
 * @param all whether the bundle goes in as it is
 * @throws {EnclaveError} `image_dead`, or `trust_store` when none is KMS's.
 */
export function checkedBundle(
  bundle: Uint8Array<ArrayBuffer> | undefined,
  { all, allowOther }: { readonly all: boolean; readonly allowOther: boolean },
): Uint8Array<ArrayBuffer> | undefined {
  if (allowOther && (all || bundle === undefined)) return bundle;
  if (bundle === undefined) {
    throw dead(
      "The image has no CA certificates, so TLS to KMS cannot work",
      "Give --ca-bundle with the distribution's bundle, or --allow-no-kms-ca to build the image without one.",
    );
  }
  const selected = new TextEncoder().encode(selectCertificates(new TextDecoder().decode(bundle)));
  return all ? bundle : selected;
}
