/**
 * Images of this program: what goes into one, from the settings, and whether it would work.
 *
 * @module
 */
import { UsageError } from "../../shared/cli/options.ts";
import { messageOf } from "../../shared/errors.ts";
import { isFile, readSecretFile } from "../../shared/files.ts";
import {
  type Architecture,
  ARCHITECTURES,
  type BuildPlan,
  checkBootFile,
  checkCertificateFile,
  checkCommandLine,
  checkDriver,
  checkKernel,
  collectRoot,
  COMPRESSIONS,
  EifError,
  type EifSigner,
  FileSource,
  hiddenBy,
  OpenFiles,
  openSigner,
  type ProgramPlan,
  type RootFile,
} from "../eif/mod.ts";
import { type BuildSettings, DEFAULT_BLOBS } from "../eif/settings.ts";
import { checkedBundle, checkProgram, LIBRARIES_HINT, librariesIn, libraryProblems } from "./checks.ts";

const MAX_SMALL_FILE = 4 * 1024 * 1024;

/** The additional files of an image, by their path in it. */
export function addedFiles(files: Readonly<Record<string, string>>): readonly RootFile[] {
  return Object.entries(files).map(([path, from]) => ({ path, mode: 0o644, from }));
}

function oneOf<T extends string>(text: string, name: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  throw new UsageError(
    `Cannot use ${JSON.stringify(text)} for --${name}`,
    `Give one of: ${choices.join(", ")}.`,
  );
}

/** Reads a file of a few MB at most. @throws {EifError} */
export async function readSmall(path: string): Promise<Uint8Array<ArrayBuffer>> {
  using file = await FileSource.open(path);
  if (file.size > MAX_SMALL_FILE) {
    throw new EifError("eif_input", `${path} is too large`);
  }
  return await Deno.readFile(path);
}

async function signerOf({ sign, cert }: BuildSettings): Promise<EifSigner | undefined> {
  if (sign === undefined && cert === undefined) return undefined;
  if (sign === undefined || cert === undefined) throw new UsageError("--sign and --cert go together");
  const certificate = await readSmall(cert);
  const key = await readSecretFile(sign, MAX_SMALL_FILE).catch((thrown: unknown) => {
    throw new UsageError(
      `Cannot read the signing key ${sign}: ${messageOf(thrown)}`,
      "--sign names a private key in PEM.",
    );
  });
  try {
    return await openSigner(key, certificate);
  } finally {
    key.fill(0);
  }
}

/** The settings that {@link blobsOf} reads. */
type BlobSettings =
  & { readonly [name in "blobs" | "kernel" | "init" | "nsm" | "cmdline"]?: string | undefined }
  & Pick<BuildSettings, "kernel_has_nsm">;

/** Kernel, init, driver and command line: those that are named, and AWS's for the rest. */
export function blobsOf(settings: BlobSettings) {
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
    kernel: async (architecture: Architecture) => {
      const file = await blob(settings.kernel, architecture === "aarch64" ? "Image" : "bzImage", "kernel");
      return { file, ...await kernelIdentity(file) };
    },
    init: () => blob(settings.init, "init", "init"),
    nsm: async () =>
      settings.kernel_has_nsm === true && settings.nsm === undefined
        ? undefined
        : await blob(settings.nsm, "nsm.ko", "nsm"),
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
        `Cannot put anything at ${path}: init mounts a file system on ${mount} that hides it`,
      );
    }
  }
  const bundle = settings.ca_bundle === undefined ? undefined : await readSmall(settings.ca_bundle);
  const isOther = settings.allow_other_program === true;
  if (settings.lib_dir === undefined && !isOther) {
    throw new EifError("library_missing", "The image lacks the SDK's libraries: --lib-dir is not set", {
      hint: `${LIBRARIES_HINT} --allow-other-program is for a program that needs none.`,
    });
  }
  return {
    binary,
    libraries: settings.lib_dir === undefined ? [] : await librariesIn(settings.lib_dir),
    installDir: settings.install_dir,
    caBundle: checkedBundle(bundle, {
      all: settings.all_certificates === true,
      allowOther: settings.allow_no_kms_ca === true || (isOther && bundle === undefined),
    }),
    sysroot: settings.sysroot,
    files: addedFiles(settings.files ?? {}),
    init: await blobs.init(),
    nsm: await blobs.nsm(),
    command: settings.cmd,
    environment: settings.env,
    compression: oneOf(settings.compress ?? "none", "compress", COMPRESSIONS),
  };
}

/** Checks the image of a program. @throws {EnclaveError} if it would not work. */
async function checkProgramPlan(
  plan: ProgramPlan,
  settings: BuildSettings,
  files: OpenFiles,
): Promise<Architecture> {
  const open = (path: string) => files.open(path);
  const root = await collectRoot(plan, open);
  if (settings.allow_other_program !== true) {
    const installDir = root.program.slice(0, root.program.lastIndexOf("/"));
    await checkProgram({
      binary: await open(plan.binary),
      program: root.program,
      libraries: (plan.libraries ?? []).map((path) => `${installDir}/${path.replace(/^.*\//, "")}`),
      command: plan.command,
      environment: plan.environment ?? {},
      allowNoKeys: settings.allow_no_kms_keys === true,
    });
    const [problem] = libraryProblems({
      ...root,
      allowMissing: settings.allow_missing_symbols === true,
    });
    if (problem !== undefined) throw problem;
  }
  checkCertificateFile(plan.environment ?? {}, root.files);
  await checkBootFile(await open(plan.init), "init", root.architecture);
  if (plan.nsm !== undefined) await checkBootFile(await open(plan.nsm), "nsm.ko", root.architecture);
  return root.architecture;
}

/** Checks an image. @returns what could not be checked. @throws {EnclaveError} if it would not work. */
export async function checkPlan(plan: BuildPlan, settings: BuildSettings): Promise<string | undefined> {
  using files = new OpenFiles();
  checkCommandLine(plan.commandLine);
  const architecture = "program" in plan.content
    ? await checkProgramPlan(plan.content.program, settings, files)
    : plan.architecture;
  if (settings.allow_kernel === true) return undefined;
  const kernel = await files.open((await plan.kernel(architecture ?? "x86_64")).file);
  await checkKernel(kernel, architecture);
  const driver = "program" in plan.content ? plan.content.program.nsm : undefined;
  if (driver === undefined || await checkDriver(await files.open(driver), kernel)) return undefined;
  return `${kernel.name} does not say its version: whether ${driver} is for it was not checked`;
}

/** The plan of an image. @throws {EnclaveError} */
export async function planOf(settings: BuildSettings): Promise<BuildPlan> {
  const { binary, ramdisks } = settings;
  if ((binary === undefined) === (ramdisks === undefined)) {
    throw new UsageError(
      "Which program should the image run?",
      "Give --binary, or existing --ramdisk files.",
    );
  }
  const output = settings.output ?? "enclave.eif";
  const blobs = blobsOf(settings);
  return {
    output,
    kernel: blobs.kernel,
    commandLine: await blobs.commandLine(),
    content: binary === undefined
      ? { ramdisks: ramdisks ?? [] }
      : { program: await programOf(settings, binary, blobs) },
    architecture: settings.arch === undefined ? undefined : oneOf(settings.arch, "arch", ARCHITECTURES),
    time: settings.source_date_epoch ?? 0,
    name: settings.name ?? binary?.replace(/^.*\//, "") ?? "enclave",
    version: settings.image_version ?? "1.0",
    signer: await signerOf(settings),
  };
}
