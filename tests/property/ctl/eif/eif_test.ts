/** Properties of images: what is written is read again, and any other bytes are an error. */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CRC_OFFSET, HEADER_LENGTH } from "../../../../lib/ctl/eif/format.ts";
import {
  type ByteSource,
  bytesSource,
  EifError,
  type EifParts,
  openSigner,
  readEif,
} from "../../../../lib/ctl/eif/mod.ts";
import { cpioArchive, type CpioEntry } from "../../../../lib/ctl/eif/ramdisks.ts";
import { readElf } from "../../../../lib/ctl/eif/elf.ts";
import { readExactly } from "../../../../lib/ctl/eif/source.ts";
import { imageOf, METADATA, SIGNING, smallParts } from "../../../fixtures/eif.ts";
import { elfFile } from "../../../fixtures/elf.ts";
import { unpackCpio } from "../../../helpers/cpio.ts";
import { runs } from "../../../helpers/effort.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const bytes = fc.uint8Array({ maxLength: 3_000 }).map((value): Bytes => new Uint8Array(value));
const encoder = new TextEncoder();
const signers = await Promise.all(
  (["P256", "P384", "P521"] as const).map((curve) =>
    openSigner(encoder.encode(SIGNING[curve].key), encoder.encode(SIGNING[curve].certificate))
  ),
);
const shapes = fc.record({
  architecture: fc.constantFrom("x86_64" as const, "aarch64" as const),
  kernel: bytes,
  commandLine: fc.string({ unit: "binary", maxLength: 200 }).map((text) => text.replaceAll("\0", " ")),
  ramdisks: fc.array(bytes, { minLength: 1, maxLength: 28 }),
  name: fc.string({ unit: "binary" }),
  custom: fc.jsonValue({ maxDepth: 3 }),
  signer: fc.option(fc.constantFrom(...signers), { nil: undefined }),
});

function pcr(...data: readonly Uint8Array[]): string {
  const hash = createHash("sha384");
  for (const part of data) hash.update(part);
  return createHash("sha384").update(new Uint8Array(48)).update(hash.digest()).digest("hex");
}

function mend(image: Bytes): Bytes {
  const crc = crc32(image.subarray(HEADER_LENGTH), crc32(image.subarray(0, CRC_OFFSET)));
  new DataView(image.buffer).setUint32(CRC_OFFSET, crc);
  return image;
}

Deno.test("any parts are read as they were written, and measured by the definition", async () => {
  await fc.assert(
    fc.asyncProperty(
      shapes,
      async ({ architecture, kernel, commandLine, ramdisks, name, custom, signer }) => {
        const parts: EifParts = {
          architecture,
          kernel: bytesSource(kernel),
          commandLine,
          ramdisks: ramdisks.map((ramdisk) => bytesSource(ramdisk)),
          metadata: {
            ...METADATA,
            ImageName: name,
            CustomMetadata: custom as EifParts["metadata"]["CustomMetadata"],
          },
          signer,
        };
        const description = await readEif(bytesSource(await imageOf(parts)));
        assertEquals([description.architecture, description.commandLine], [architecture, commandLine]);
        assertEquals(JSON.stringify(description.metadata), JSON.stringify(parts.metadata));
        const [first = new Uint8Array(0), ...rest] = ramdisks;
        const boot = [kernel, encoder.encode(commandLine), first];
        assertEquals(description.measurements, {
          PCR0: pcr(...boot, ...rest),
          PCR1: pcr(...boot),
          PCR2: pcr(...rest),
          ...(signer === undefined ? {} : { PCR8: pcr(signer.certificate.der) }),
        });
        assertEquals([description.crc.ok, description.signature?.problem], [true, undefined]);
      },
    ),
    runs(150),
  );
});

Deno.test("any bytes, and any image with a few bytes changed, are read or refused as an EifError", async () => {
  const images = [
    await imageOf(smallParts()),
    await imageOf(smallParts({ ...(signers[0] === undefined ? {} : { signer: signers[0] }) })),
  ];
  const changed = fc.tuple(
    fc.constantFrom(...images),
    fc.array(fc.tuple(fc.nat({ max: 700 }), fc.nat({ max: 255 })), { maxLength: 6 }),
    fc.option(fc.nat({ max: 3_000 }), { nil: undefined }),
  ).map(([image, changes, end]) => {
    const copy = image.slice(0, end);
    for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
    return copy.length >= HEADER_LENGTH ? mend(copy) : copy;
  });
  await fc.assert(
    fc.asyncProperty(fc.oneof(bytes, changed), async (image) => {
      let most = 0;
      const source = bytesSource(image, "any");
      try {
        await readEif({
          ...source,
          read: (at, into) => {
            most = Math.max(most, into.length);
            return source.read(at, into);
          },
        });
      } catch (thrown) {
        assert(thrown instanceof EifError, String(thrown));
      }
      assert(most <= Math.max(HEADER_LENGTH, image.length), `asked for ${most} of ${image.length}`);
    }),
    runs(600),
  );
});

Deno.test("any bit of what is measured that is flipped, is seen in the CRC and in PCR0", async () => {
  const image = await imageOf(smallParts());
  const { sections, measurements } = await readEif(bytesSource(image));
  const measured = sections.filter(({ type }) => type !== "metadata");
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...measured),
      fc.nat(),
      fc.nat({ max: 7 }),
      async (section, position, bit) => {
        const copy = image.slice();
        const at = section.offset + position % section.size;
        copy[at] = (copy[at] ?? 0) ^ (1 << bit);
        const changed = await readEif(bytesSource(copy));
        assertEquals([changed.crc.ok, changed.measurements.PCR0 === measurements.PCR0], [false, false]);
      },
    ),
    runs(200),
  );
});

const names = fc.stringMatching(/^[!-.0-~]{1,20}$/);

Deno.test("any ELF file is read as it was made, and any bytes changed in one are read or refused in bounded memory", async () => {
  const list = fc.array(names, { maxLength: 10 });
  const changes = fc.array(fc.tuple(fc.nat({ max: 1200 }), fc.nat({ max: 255 })), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(
      list,
      names,
      fc.option(names, { nil: undefined }),
      changes,
      async (needed, soname, path, bits) => {
        const folders = path?.split(":").filter((folder) => folder !== "") ?? [];
        const file = elfFile({
          needed,
          soname,
          exported: ["f"],
          undefined: ["g"],
          versions: ["V_1", "V_2"],
          neededVersions: { "a.so": ["A_1"], "b.so": ["B_1", "B_2"] },
          ...(path === undefined ? {} : { runPath: path }),
        });
        const { runPath, ...read } = await readElf(bytesSource(file));
        assertEquals([read.needed, read.soname, runPath], [needed, soname, folders]);
        for (const [at, value] of bits) if (at < file.length) file[at] = value;
        let asked = 0;
        const source = bytesSource(file);
        try {
          const counted: ByteSource = {
            ...source,
            read: (at, into) => {
              asked = Math.max(asked, into.length);
              return source.read(at, into);
            },
          };
          await readElf(counted);
        } catch (thrown) {
          assert(thrown instanceof EifError, String(thrown));
        }
        assert(asked <= 64 * 1024, String(asked));
      },
    ),
    runs(500),
  );
});

Deno.test("any files come out of an archive as they went in, whatever their order, or clash", async () => {
  const paths = fc.array(fc.constantFrom("a", "b", "a-", "é", "b c"), { minLength: 1, maxLength: 4 }).map((
    parts,
  ) => parts.join("/"));
  const files = fc.uniqueArray(fc.record({ path: paths, content: bytes }), { selector: ({ path }) => path });
  await fc.assert(
    fc.asyncProperty(files, async (given) => {
      const entries = given.map(({ path, content }): CpioEntry => ({
        path,
        mode: 0o644,
        kind: "file",
        content: bytesSource(content),
      }));
      const clash = given.some(({ path }) => given.some((other) => other.path.startsWith(`${path}/`)));
      const make = async (list: readonly CpioEntry[]) => {
        const source = cpioArchive("test", list, 0);
        return await readExactly(source, 0, source.size);
      };
      if (clash) {
        await make(entries).then(() => assert(false), (thrown) => assert(thrown instanceof EifError));
        return;
      }
      const archive = await make(entries);
      const unpacked = unpackCpio(archive);
      const found = new Map(
        unpacked.filter(({ mode }) => mode === 0o100644).map((
          { path, content },
        ) => [path, new Uint8Array(content)]),
      );
      assertEquals(found, new Map(given.map(({ path, content }) => [path, content])));
      const seen = new Set([""]);
      for (const { path, inode } of unpacked) {
        assert(seen.has(path.slice(0, Math.max(0, path.lastIndexOf("/")))), `${path} before its folder`);
        seen.add(path);
        assertEquals(inode, seen.size - 1);
      }
      assertEquals(await make(entries.toReversed()), archive);
    }),
    runs(300),
  );
});
