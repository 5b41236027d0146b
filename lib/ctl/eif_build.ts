/**
 * `denclavectl eif build`: an image from a program and AWS's blobs, or from ramdisks that are there.
 *
 * @module
 */
import { compiledPathOf } from "../compiled_path.ts";
import { LIBRARY_FILES } from "../../ffi/constants.ts";
import { EXIT, helpLines, type Options, parseOptions, UsageError } from "../cli/options.ts";
import { COMMON_OPTIONS } from "../cli/options.ts";
import { formatFields } from "./columns.ts";
import {
  type Architecture,
  ARCHITECTURES,
  buildEif,
  type BuildPlan,
  COMPRESSIONS,
  EifError,
  type EifSigner,
  FileSource,
  gitCommit,
  hashFile,
  hiddenBy,
  openSigner,
  provenanceOf,
  readElf,
} from "../eif/mod.ts";
import type { BuildSettings } from "../eif/manifest.ts";
import { selectCertificates } from "./trust_store.ts";
import { megabytes, printable } from "./eif.ts";
import type { CtlIo } from "./io.ts";

const DEFAULT_BLOBS = "/usr/share/nitro_enclaves/blobs";
/** Seconds since 1970 that a cpio archive can say. */
const MAX_TIME = 0xffff_ffff;
const MAX_SMALL_FILE = 4 * 1024 * 1024;

const SPECS = [
  { name: "manifest", short: "m", value: "FILE", help: "enclave.yaml, which says the rest; options win" },
  { name: "output", short: "o", value: "FILE", help: "the image (default enclave.eif)" },
  {
    name: "binary",
    short: "b",
    value: "FILE",
    help: "the enclave's entrypoint, as deno task compile makes it",
  },
  { name: "lib-dir", value: "DIR", help: "folder of the SDK's libraries, to lie beside it" },
  {
    name: "install-dir",
    value: "DIR",
    help: "folder of both in the image, as it was compiled (default /app)",
  },
  { name: "ca-bundle", value: "FILE", help: "PEM: cut down to the CA certificates of KMS" },
  { name: "all-certificates", help: "take the bundle as it is" },
  { name: "sysroot", value: "DIR", help: "where loader and C library come from (default /)" },
  { name: "file", value: "PATH=FILE", multiple: true, help: "one more file, at this path in the image" },
  {
    name: "cmd",
    value: "ARG",
    multiple: true,
    help: "program and arguments, one each time (default the binary)",
  },
  { name: "env", short: "e", value: "NAME=VALUE", multiple: true, help: "a variable of its environment" },
  {
    name: "blobs",
    env: "NITRO_CLI_BLOBS",
    value: "DIR",
    help: `AWS's kernel, init, nsm.ko and cmdline (default ${DEFAULT_BLOBS})`,
  },
  { name: "kernel", value: "FILE", help: "another kernel: a bzImage, or an Image on aarch64" },
  { name: "init", value: "FILE", help: "another first program" },
  { name: "nsm", value: "FILE", help: "another driver of the NSM" },
  { name: "cmdline", value: "TEXT", help: "another command line of the kernel" },
  { name: "ramdisk", value: "FILE", multiple: true, help: "a ramdisk that is there, in place of a binary" },
  { name: "arch", value: "NAME", help: "x86_64 or aarch64; by default as binary and kernel say" },
  { name: "compress", value: "NAME", help: "none or gzip (default none: the same bytes whatever the Deno)" },
  {
    name: "source-date-epoch",
    env: "SOURCE_DATE_EPOCH",
    value: "SECONDS",
    help: "time of the build and of every file (default 0)",
  },
  { name: "name", value: "TEXT", help: "the image's name (default the binary's)" },
  { name: "image-version", value: "TEXT", help: "and version (default 1.0)" },
  { name: "sign", value: "FILE", help: "private key (PEM) to sign by" },
  { name: "cert", value: "FILE", help: "its certificate (PEM)" },
  { name: "json", help: "print the provenance" },
  ...COMMON_OPTIONS,
] as const;

const HELP = `usage: deno task ctl eif build --binary FILE --lib-dir DIR --ca-bundle FILE [options]
       deno task ctl eif build --manifest enclave.yaml [options]
       deno task ctl eif build --kernel FILE --cmdline TEXT --ramdisk FILE... [options]

Makes an image without Docker, and beside it <name>.provenance.json: what it is made of. The same inputs give the
same bytes, but for a signature. An argument that begins with a dash is given as --cmd=--port.

${helpLines(SPECS)}
`;

function pairs(options: Options, name: string, form: string): Record<string, string> | undefined {
  const given = options.each(name);
  if (given.length === 0) return undefined;
  return Object.fromEntries(given.map((pair) => {
    const equals = pair.indexOf("=");
    if (equals < 1) {
      throw new UsageError(`Cannot use ${JSON.stringify(pair)} for --${name}`, `Write ${form}.`);
    }
    return [pair.slice(0, equals), pair.slice(equals + 1)];
  }));
}

/** What the options say; what they do not is left out, so that it does not hide the manifest's. */
function settingsOf(options: Options): BuildSettings {
  const cmd = options.each("cmd");
  const ramdisks = options.each("ramdisk");
  const all: { readonly [name in keyof BuildSettings]: BuildSettings[name] | undefined } = {
    output: options.text("output"),
    arch: options.text("arch"),
    kernel: options.text("kernel"),
    cmdline: options.text("cmdline"),
    ramdisks: ramdisks.length === 0 ? undefined : ramdisks,
    binary: options.text("binary"),
    lib_dir: options.text("lib-dir"),
    install_dir: options.text("install-dir"),
    ca_bundle: options.text("ca-bundle"),
    all_certificates: options.on("all-certificates") ? true : undefined,
    sysroot: options.text("sysroot"),
    blobs: options.text("blobs"),
    init: options.text("init"),
    nsm: options.text("nsm"),
    cmd: cmd.length === 0 ? undefined : cmd,
    env: pairs(options, "env", "NAME=VALUE"),
    files: pairs(options, "file", "<path in the image>=<file>"),
    compress: options.text("compress"),
    sign: options.text("sign"),
    cert: options.text("cert"),
    name: options.text("name"),
    image_version: options.text("image-version"),
    source_date_epoch: options.text("source-date-epoch") === undefined
      ? undefined
      : options.number("source-date-epoch", { min: 0, max: MAX_TIME }),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function oneOf<T extends string>(text: string, name: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  throw new UsageError(
    `Cannot use ${JSON.stringify(text)} for --${name}`,
    `Give one of: ${choices.join(", ")}.`,
  );
}

async function isFile(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isFile === true;
}

async function readSmall(path: string): Promise<Uint8Array<ArrayBuffer>> {
  using file = await FileSource.open(path);
  if (file.size > MAX_SMALL_FILE) {
    throw new EifError("eif_input", `${path} is larger than any file of its kind`);
  }
  return await Deno.readFile(path);
}

async function signerOf({ sign, cert }: BuildSettings): Promise<EifSigner | undefined> {
  if (sign === undefined && cert === undefined) return undefined;
  if (sign === undefined || cert === undefined) throw new UsageError("--sign and --cert go together");
  const key = await readSmall(sign);
  try {
    return await openSigner(key, await readSmall(cert));
  } finally {
    key.fill(0);
  }
}

/** The SDK's libraries in a folder: both, and the NSM's where it is one of its own. */
async function librariesIn(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of Object.values(LIBRARY_FILES)) {
    const path = `${folder}/${name}`;
    if (await isFile(path)) found.push(path);
    else if (name !== LIBRARY_FILES.nsm) {
      throw new EifError("library_missing", `Cannot find ${path}`, {
        hint: "Build the AWS Nitro Enclaves SDK with shared libraries: docs/image.md says how.",
      });
    }
  }
  return found;
}

/** Kernel, init, driver and command line: those that are named, and AWS's for the rest. */
function blobsOf(settings: BuildSettings, architecture: Architecture) {
  const folder = settings.blobs ?? DEFAULT_BLOBS;
  const blob = async (named: string | undefined, name: string, option: string): Promise<string> => {
    const path = named ?? `${folder}/${name}`;
    if (await isFile(path)) return path;
    throw new EifError(
      "blob_missing",
      `Cannot find ${path}${named === undefined ? `, and no --${option} names another` : ""}`,
    );
  };
  return {
    kernel: () => blob(settings.kernel, architecture === "aarch64" ? "Image" : "bzImage", "kernel"),
    init: () => blob(settings.init, "init", "init"),
    nsm: () => blob(settings.nsm, "nsm.ko", "nsm"),
    commandLine: async () =>
      settings.cmdline ??
        new TextDecoder().decode(await readSmall(await blob(undefined, "cmdline", "cmdline"))).trim(),
  };
}

/** System and version of a kernel, as the third line of the configuration beside it says: `# Linux/x86_64 4.14.256 Kernel Configuration`. */
async function kernelIdentity(kernel: string) {
  const path = `${kernel}.config`;
  if (!await isFile(path)) return {};
  const [, , line = ""] = new TextDecoder().decode(await readSmall(path)).split("\n", 3);
  const [, operatingSystem, kernelVersion] = /^# ([^ /]+)\/\S+ ([^ -]+)/.exec(line) ?? [];
  return { operatingSystem, kernelVersion };
}

async function programOf(settings: BuildSettings, binary: string, blobs: ReturnType<typeof blobsOf>) {
  for (const path of [settings.install_dir ?? "", ...Object.keys(settings.files ?? {})]) {
    const mount = hiddenBy(path);
    if (mount !== undefined) {
      throw new UsageError(
        `Cannot put anything at ${path}: init mounts a file system on ${mount}, which hides it`,
      );
    }
  }
  const bundle = settings.ca_bundle === undefined ? undefined : await readSmall(settings.ca_bundle);
  const selected = bundle === undefined || settings.all_certificates === true
    ? bundle
    : new TextEncoder().encode(selectCertificates(new TextDecoder().decode(bundle)));
  return {
    binary,
    libraries: settings.lib_dir === undefined ? [] : await librariesIn(settings.lib_dir),
    installDir: settings.install_dir,
    caBundle: selected,
    sysroot: settings.sysroot,
    files: Object.entries(settings.files ?? {}).map(([path, from]) => ({ path, mode: 0o644, from })),
    init: await blobs.init(),
    nsm: await blobs.nsm(),
    command: settings.cmd,
    environment: settings.env,
    compression: oneOf(settings.compress ?? "none", "compress", COMPRESSIONS),
  };
}

/** A binary of this project can start itself from one path alone: an image that has it elsewhere does not work. */
async function checkCompiledPath(settings: BuildSettings, binary: FileSource): Promise<void> {
  const compiledFor = await compiledPathOf(binary);
  const path = `${settings.install_dir ?? "/app"}/${binary.name.replace(/^.*\//, "")}`;
  if (compiledFor === undefined || compiledFor === path) return;
  throw new UsageError(
    `Cannot put ${binary.name} to ${path} in the image: it was compiled for ${compiledFor}, and may start itself from there alone`,
    "Name the file and --install-dir as they were when it was compiled, or compile it for this path.",
  );
}

async function planOf(settings: BuildSettings): Promise<BuildPlan> {
  const { binary, ramdisks } = settings;
  if ((binary === undefined) === (ramdisks === undefined)) {
    throw new UsageError("What is the image to run?", "Give --binary, or --ramdisk files that are there.");
  }
  const output = settings.output ?? "enclave.eif";
  const time = settings.source_date_epoch ?? 0;
  if (time > MAX_TIME) throw new UsageError(`Cannot use ${time} for --source-date-epoch`);
  const asked = settings.arch === undefined ? undefined : oneOf(settings.arch, "arch", ARCHITECTURES);
  let architecture = asked;
  if (binary !== undefined) {
    using file = await FileSource.open(binary);
    architecture ??= (await readElf(file)).architecture;
    await checkCompiledPath(settings, file);
  }
  const blobs = blobsOf(settings, architecture ?? "x86_64");
  const kernel = await blobs.kernel();
  return {
    output,
    kernel,
    commandLine: await blobs.commandLine(),
    content: binary === undefined
      ? { ramdisks: ramdisks ?? [] }
      : { program: await programOf(settings, binary, blobs) },
    architecture: asked,
    time,
    name: settings.name ?? binary?.replace(/^.*\//, "") ?? "enclave",
    version: settings.image_version ?? "1.0",
    ...await kernelIdentity(kernel),
    signer: await signerOf(settings),
  };
}

/** Makes an image, and its provenance. */
export async function build(argv: readonly string[], io: CtlIo): Promise<number> {
  const options = parseOptions(SPECS, argv, io.env);
  if (options.on("help")) return io.stdout(HELP), EXIT.ok;
  const [unexpected] = options.positionals;
  if (unexpected !== undefined) throw new UsageError(`Unexpected argument ${JSON.stringify(unexpected)}`);
  const manifest = options.text("manifest");
  const fromManifest = manifest === undefined
    ? {}
    : await (await import("../eif/manifest.ts")).readManifest(manifest);
  const fromOptions = settingsOf(options);
  const plan = await planOf({
    ...fromManifest,
    ...fromOptions,
    ...(fromManifest.env === undefined ? {} : { env: { ...fromManifest.env, ...fromOptions.env } }),
  });
  const built = await buildWithProgress(plan, io);
  const provenance = provenanceOf(built, {
    file: plan.output.replace(/^.*\//, ""),
    sha256: await hashFile(plan.output),
    time: plan.time,
    compression: "program" in plan.content ? plan.content.program.compression : undefined,
    commandLine: plan.commandLine,
    commit: await gitCommit(Deno.cwd()),
  });
  const beside = `${plan.output.replace(/\.eif$/, "")}.provenance.json`;
  const text = `${JSON.stringify(provenance, null, 2)}\n`;
  await Deno.writeTextFile(beside, text);
  io.stdout(
    options.on("json") ? text : `${
      formatFields({
        image: printable(plan.output),
        bytes: built.size,
        architecture: built.architecture,
        files: built.inputs.length,
        ...built.measurements,
        provenance: printable(beside),
      })
    }\n`,
  );
  return EXIT.ok;
}

async function buildWithProgress(plan: BuildPlan, io: CtlIo) {
  const progress: { line?: ReturnType<typeof megabytes> } = {};
  try {
    return await buildEif(plan, (done, total) => {
      progress.line ??= megabytes("writing", total, io);
      progress.line.at(done);
    });
  } finally {
    progress.line?.[Symbol.dispose]();
  }
}
