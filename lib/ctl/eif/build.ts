/**
 * Makes an image from files, without Docker, root or mounts. The same inputs give the same bytes: files are sorted, owned by root, with one timestamp.
 *
 * Needs read and write permission.
 *
 * @module
 */
import { VERSION } from "../../shared/version.ts";
import { kernelHead } from "./checks.ts";
import { EifError } from "./errors.ts";
import type { Architecture } from "./format.ts";
import { gzipToFile } from "./ramdisks.ts";
import type { EifMetadata } from "./metadata.ts";
import { bootRamdisk, programRamdisk } from "./ramdisks.ts";
import { CA_BUNDLE_PATH, collectRoot, type Root, type RootOptions } from "./rootfs.ts";
import type { EifSigner } from "./signature.ts";
import {
  type ByteSource,
  bytesSource,
  FileSource,
  type HashedSource,
  hashSource,
  OpenFiles,
  piecesOf,
} from "./source.ts";
import { expectedSize, writeEifFile, type WrittenEif } from "./write.ts";

/** What ramdisks are compressed with. */
export const COMPRESSIONS = ["none", "gzip"] as const;
/** One of {@link COMPRESSIONS}. */
type Compression = typeof COMPRESSIONS[number];

/** What a program's ramdisks are made of. */
export interface ProgramPlan extends RootOptions {
  /** AWS's first program. */
  readonly init: string;
  /** The NSM's driver; undefined for a kernel that has it built in. */
  readonly nsm: string | undefined;
  /** The program and its arguments; the program alone by default. */
  readonly command?: readonly string[] | undefined;
  /** Beside HOME, and SSL_CERT_FILE where there is a bundle. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly compression?: Compression | undefined;
}

/** A kernel, with what goes into the metadata about it: the only place where these are given. */
interface KernelPlan {
  readonly file: string;
  readonly operatingSystem?: string | undefined;
  readonly kernelVersion?: string | undefined;
}

/** What an image is made of. */
export interface BuildPlan {
  readonly output: string;
  /** Chooses the kernel for the image's architecture. */
  readonly kernel: (architecture: Architecture) => Promise<KernelPlan>;
  readonly commandLine: string;
  /** Existing ramdisk files, or what to make two ramdisks from. */
  readonly content: { readonly ramdisks: readonly string[] } | { readonly program: ProgramPlan };
  /** By default that of the program and the kernel. */
  readonly architecture?: Architecture | undefined;
  /** Seconds since 1970: the time of every file, and the build's. */
  readonly time: number;
  readonly name: string;
  readonly version: string;
  readonly signer?: EifSigner | undefined;
}

/** A file that went into an image. */
export interface BuildInput {
  /** What it is: `kernel`, `ramdisk`, or its path in the image. */
  readonly role: string;
  /** Its name where it came from; undefined for what the build made itself. */
  readonly file: string | undefined;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** A finished image. */
export interface BuiltEif extends WrittenEif {
  readonly architecture: Architecture;
  readonly metadata: EifMetadata;
  /** As they are in the image; undefined for existing ramdisks. */
  readonly command: readonly string[] | undefined;
  readonly environment: Readonly<Record<string, string>> | undefined;
  readonly inputs: readonly BuildInput[];
}

/** Called with the number of bytes done, and of the total. */
type OnBuildProgress = (done: number, total: number) => void;

/** The files of a build: each opened once, hashed as it goes into the image, closed at the build's end. */
class Inputs implements Disposable {
  #files = new OpenFiles();
  #hashed: { readonly role: string; readonly file: string | undefined; readonly source: HashedSource }[] = [];

  /** A file, to look into before it is added. */
  open(path: string): Promise<ByteSource> {
    return this.#files.open(path);
  }

  async add(role: string, from: string | Uint8Array): Promise<ByteSource> {
    const isFile = typeof from === "string";
    const source = hashSource(
      isFile ? await this.#files.open(from) : bytesSource(from, role),
    );
    this.#hashed.push({ role, file: isFile ? from.replace(/^.*\//, "") : undefined, source });
    return source;
  }

  list(): readonly BuildInput[] {
    return this.#hashed.map(({ role, file, source }) => ({
      role,
      file,
      bytes: source.size,
      sha256: source.digest(),
    }));
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}

interface Content {
  readonly ramdisks: readonly ByteSource[];
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

async function programContent(
  plan: ProgramPlan,
  root: Root,
  { time, inputs }: { readonly time: number; readonly inputs: Inputs },
): Promise<Content> {
  const boot = bootRamdisk({
    init: await inputs.add("init", plan.init),
    nsm: plan.nsm === undefined ? undefined : await inputs.add("nsm.ko", plan.nsm),
  }, time);
  const files = [];
  for (const { path, mode, from } of root.files) {
    files.push({ path, mode, content: await inputs.add(path, from) });
  }
  const command = plan.command ?? [root.program];
  const environment = {
    HOME: "/",
    ...(plan.caBundle === undefined ? {} : { SSL_CERT_FILE: CA_BUNDLE_PATH }),
    ...plan.environment,
  };
  const program = programRamdisk({ command, environment, files }, time);
  return { ramdisks: [boot, program], command, environment };
}

async function contentOf(plan: BuildPlan, root: Root | undefined, inputs: Inputs): Promise<Content> {
  if ("program" in plan.content && root !== undefined) {
    return await programContent(plan.content.program, root, { time: plan.time, inputs });
  }
  const ramdisks: ByteSource[] = [];
  for (const path of "ramdisks" in plan.content ? plan.content.ramdisks : []) {
    ramdisks.push(await inputs.add("ramdisk", path));
  }
  return { ramdisks };
}

function chooseArchitecture(
  plan: BuildPlan,
  found: readonly (readonly [string, Architecture | undefined])[],
): Architecture {
  const [first] = found.flatMap(([, architecture]) => architecture ?? []);
  const chosen = plan.architecture ?? first ?? "x86_64";
  for (const [what, architecture] of found) {
    if (architecture !== undefined && architecture !== chosen) {
      throw new EifError("eif_input", `${what} is for ${architecture}, and the image for ${chosen}`, {
        hint: "Give a kernel, an init, a program and libraries of one architecture.",
      });
    }
  }
  return chosen;
}

/**
 * Makes an image's file.
 *
 * @throws {EifError}
 */
export async function buildEif(
  plan: BuildPlan,
  onProgress: OnBuildProgress = () => {},
): Promise<BuiltEif> {
  using inputs = new Inputs();
  await using made = new AsyncDisposableStack();
  const root = "program" in plan.content
    ? await collectRoot(plan.content.program, (path) => inputs.open(path))
    : undefined;
  const kernel = await plan.kernel(plan.architecture ?? root?.architecture ?? "x86_64");
  const architecture = chooseArchitecture(plan, [
    [kernel.file, (await kernelHead(await inputs.open(kernel.file)))?.architecture],
    ["The program", root?.architecture],
  ]);
  const kernelSource = await inputs.add("kernel", kernel.file);
  const content = await contentOf(plan, root, inputs);
  const metadata: EifMetadata = {
    ImageName: plan.name,
    ImageVersion: plan.version,
    BuildMetadata: {
      BuildTime: new Date(plan.time * 1000).toISOString().replace(".000Z", "+00:00"),
      BuildTool: "denclave",
      BuildToolVersion: VERSION,
      OperatingSystem: kernel.operatingSystem ?? "Linux",
      KernelVersion: kernel.kernelVersion ?? "Unknown",
    },
    DockerInfo: null,
    CustomMetadata: null,
  };
  const compression = "program" in plan.content ? plan.content.program.compression : undefined;
  const ramdisks = compression === "gzip"
    ? await compressAll(content.ramdisks, plan.output, made)
    : content.ramdisks;
  const parts = {
    architecture,
    kernel: kernelSource,
    commandLine: plan.commandLine,
    ramdisks,
    metadata,
    signer: plan.signer,
  };
  const total = expectedSize(parts);
  const written = await writeEifFile(plan.output, parts, (done) => onProgress(done, total));
  return {
    ...written,
    architecture,
    metadata,
    command: content.command,
    environment: content.environment,
    inputs: inputs.list(),
  };
}

/** Compresses into files beside the output, which are removed when the build ends. */
async function compressAll(
  ramdisks: readonly ByteSource[],
  output: string,
  made: AsyncDisposableStack,
): Promise<readonly ByteSource[]> {
  const compressed: ByteSource[] = [];
  for (const ramdisk of ramdisks) {
    const path = `${output}.${crypto.randomUUID()}.gz`;
    made.defer(() => Deno.remove(path).catch(() => {}));
    await gzipToFile(ramdisk, path);
    compressed.push(made.use(await FileSource.open(path)));
  }
  return compressed;
}

/** SHA-256 of a file, hex. @throws {EifError} `eif_unreadable`. */
export async function hashFile(path: string): Promise<string> {
  using file = await FileSource.open(path);
  const hashed = hashSource(file);
  for await (const _piece of piecesOf(hashed));
  return hashed.digest();
}
