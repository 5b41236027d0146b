/** Comparison with AWS's own crate of the image format: each reads the other's images, with the same bytes and measurements. */
import { assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import {
  bytesSource,
  describeEif,
  type EifDescription,
  type EifMetadata,
  type EifParts,
  nitroCliShape,
  openSigner,
  writeEifFile,
} from "../../lib/ctl/eif/mod.ts";
import { METADATA, SIGNING, smallParts } from "../fixtures/eif.ts";
import { count } from "../helpers/effort.ts";
import { type BuildJob, hasEifPeer, type PeerResult, runEifPeer } from "../helpers/eif_peer.ts";

const SHAPES = count(200, 60);
const CURVES = ["P256", "P384", "P521"] as const;
const encoder = new TextEncoder();
const ignore = !hasEifPeer();

/** Bytes of a length, the same ones for the same seed. */
function filled(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0, state = seed; at < length; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 16;
  }
  return bytes;
}

const lengths = fc.oneof(
  { arbitrary: fc.nat({ max: 2_000 }), weight: 30 },
  { arbitrary: fc.constantFrom(0, 1, 4_095, 4_096), weight: 6 },
  // Around the pieces that an image is read in.
  { arbitrary: fc.constantFrom(1_048_575, 1_048_576, 1_048_577), weight: 1 },
);
const shapes = fc.record({
  architecture: fc.constantFrom("x86_64" as const, "aarch64" as const),
  kernel: lengths,
  cmdline: fc.string({ unit: "grapheme", maxLength: 80 }).map((text) => text.replaceAll("\0", " ")),
  ramdisks: fc.array(lengths, { minLength: 1, maxLength: 6 }),
  name: fc.string({ unit: "grapheme" }),
  // Of those values that serde_json and JavaScript write alike: no fractions, no keys whose order would matter.
  custom: fc.oneof(fc.constant(null), fc.array(fc.oneof(fc.integer(), fc.string(), fc.boolean()))),
  curve: fc.option(fc.constantFrom(...CURVES), { nil: undefined }),
  seed: fc.nat(),
});

type Shape = typeof shapes extends fc.Arbitrary<infer T> ? T : never;

async function inFolder(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "denclave-eif-" });
  try {
    for (const curve of CURVES) {
      await Deno.writeTextFile(`${directory}/${curve}.key`, SIGNING[curve].key);
      await Deno.writeTextFile(`${directory}/${curve}.pem`, SIGNING[curve].certificate);
    }
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** An image of ours, and the job that makes the peer's. */
async function prepare(directory: string, shape: Shape, index: number): Promise<BuildJob> {
  const { architecture, cmdline, curve, seed } = shape;
  const metadata: EifMetadata = { ...METADATA, ImageName: shape.name, CustomMetadata: shape.custom };
  const kernel = filled(shape.kernel, seed);
  const ramdisks = shape.ramdisks.map((length, ramdisk) => filled(length, seed + ramdisk));
  const write = async (name: string, bytes: Uint8Array) => {
    await Deno.writeFile(`${directory}/${index}-${name}`, bytes);
    return `${directory}/${index}-${name}`;
  };
  const parts: EifParts = {
    architecture,
    kernel: bytesSource(kernel),
    commandLine: cmdline,
    ramdisks: ramdisks.map((ramdisk) => bytesSource(ramdisk)),
    metadata,
    signer: curve &&
      await openSigner(encoder.encode(SIGNING[curve].key), encoder.encode(SIGNING[curve].certificate)),
  };
  await writeEifFile(`${directory}/${index}-ours.eif`, parts);
  return {
    do: "build",
    architecture,
    cmdline,
    metadata,
    kernel: await write("kernel", kernel),
    ramdisks: await Promise.all(ramdisks.map((bytes, at) => write(`ramdisk-${at}`, bytes))),
    output: `${directory}/${index}-theirs.eif`,
    ...(curve === undefined
      ? {}
      : { key: `${directory}/${curve}.key`, certificate: `${directory}/${curve}.pem` }),
  };
}

/** What both report about an image, in the peer's format. */
function inPeersShape(description: EifDescription): Record<string, unknown> {
  const { ImageName: _name, ImageVersion: _version, Metadata: _metadata, ...shape } = nitroCliShape(
    description,
  );
  return { ...shape, Identity: JSON.parse(JSON.stringify(description.metadata)) };
}

Deno.test({
  name: `${SHAPES} random images: ours are read by AWS's crate, its by ours, and both say the same of both`,
  ignore,
  fn: () =>
    inFolder(async (directory) => {
      const samples = fc.sample(shapes, { numRuns: SHAPES, seed: 20_261_121 });
      const builds: BuildJob[] = [];
      for (const [index, shape] of samples.entries()) builds.push(await prepare(directory, shape, index));
      const built = await runEifPeer(directory, builds);
      const images = samples.flatMap((_, index) =>
        ["ours", "theirs"].map((whose) => `${directory}/${index}-${whose}.eif`)
      );
      const described = await runEifPeer(directory, images.map((eif) => ({ do: "describe", eif })));
      for (const [index, shape] of samples.entries()) {
        const [ours, theirs] = [images[2 * index] ?? "", images[2 * index + 1] ?? ""];
        const [first, second] = [await describeEif(ours), await describeEif(theirs)];
        assertEquals(described[2 * index]?.ok, inPeersShape(first), JSON.stringify(shape));
        assertEquals(described[2 * index + 1]?.ok, inPeersShape(second), JSON.stringify(shape));
        assertEquals(built[index]?.ok?.["Measurements"], nitroCliShape(second)["Measurements"]);
        assertEquals(first.measurements, second.measurements);
        if (shape.curve === undefined) {
          assertEquals(await Deno.readFile(ours), await Deno.readFile(theirs), JSON.stringify(shape));
        }
      }
    }),
});

Deno.test({
  name: "a signature that AWS's crate refuses is one that ours refuses",
  ignore,
  fn: () =>
    inFolder(async (directory) => {
      const { key, certificate } = SIGNING.P384;
      const path = `${directory}/a.eif`;
      const signer = await openSigner(encoder.encode(key), encoder.encode(certificate));
      await writeEifFile(path, smallParts({ signer }));
      const good = await Deno.readFile(path);
      const results: [PeerResult | undefined, EifDescription][] = [];
      for (const change of [0, 1]) {
        // The last byte is one of the signature's.
        await Deno.writeFile(path, good.with(-1, (good.at(-1) ?? 0) ^ change));
        results.push([
          (await runEifPeer(directory, [{ do: "describe", eif: path }]))[0],
          await describeEif(path),
        ]);
      }
      assertEquals(results.map(([theirs, ours]) => [theirs?.ok === undefined, ours.signature?.problem]), [
        [false, undefined],
        [true, "it was not made by its certificate's key"],
      ]);
      assertMatch(results[1]?.[0]?.error ?? "", /signature/i);
    }),
});
