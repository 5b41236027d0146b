/** Images: those that AWS's tool made, invalid ones, and signatures. */
import { crc32 } from "node:zlib";
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { decodeBase64, encodeBase64 } from "@std/encoding";
import { encode } from "cborg";
import {
  CRC_OFFSET,
  encodeHeader,
  encodeSectionHeader,
  HEADER_LENGTH,
  type SectionPlace,
  type SectionType,
} from "../../../../lib/ctl/eif/format.ts";
import {
  bytesSource,
  checkEif,
  describeEif,
  EifError,
  hashSource,
  nitroCliShape,
  openSigner,
  readEif,
  writeEifFile,
} from "../../../../lib/ctl/eif/mod.ts";
import { decodeMetadata, encodeMetadata } from "../../../../lib/ctl/eif/metadata.ts";
import { readExactly } from "../../../../lib/ctl/eif/source.ts";
import { ED25519_KEY, imageOf, METADATA, SIGNING, smallParts } from "../../../fixtures/eif.ts";
import { eifVectors } from "../../../helpers/eif_vectors.ts";
import { Folder } from "../../../helpers/folder.ts";

const text = (value: string) => new TextEncoder().encode(value);
const read = (image: Uint8Array) => readEif(bytesSource(image, "a.eif"));
const signerOf = (curve: keyof typeof SIGNING) =>
  openSigner(text(SIGNING[curve].key), text(SIGNING[curve].certificate));

/** Puts the right CRC into an image that was changed. */
function mend(image: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const crc = crc32(image.subarray(HEADER_LENGTH), crc32(image.subarray(0, CRC_OFFSET)));
  new DataView(image.buffer).setUint32(CRC_OFFSET, crc);
  return image;
}

for (const vector of eifVectors() ?? []) {
  Deno.test(`${vector.name}: has the measurements that eif_build printed`, async () => {
    const description = await read(vector.image);
    assertEquals(nitroCliShape(description)["Measurements"], { ...vector.measurements });
    assertEquals([description.crc.ok, description.metadata?.ImageName], [true, vector.name.slice(0, 2)]);
  });

  Deno.test(`${vector.name}: is written again byte for byte`, async () => {
    const { commandLine } = await read(vector.image);
    const image = await imageOf({
      architecture: "x86_64",
      kernel: bytesSource(vector.kernel),
      commandLine,
      ramdisks: vector.ramdisks.map((ramdisk) => bytesSource(ramdisk)),
      metadata: decodeMetadata(vector.metadata, "vector"),
    });
    assertEquals(image, vector.image);
  });
}

Deno.test("what is written is read again: architecture, command line, metadata, sections in AWS's order", async () => {
  const description = await read(await imageOf(smallParts({ architecture: "aarch64" })));
  assertEquals(
    [description.architecture, description.commandLine, description.metadata],
    ["aarch64", "reboot=k panic=30", METADATA],
  );
  assertEquals(description.sections.map(({ type, size }) => `${type} ${size}`), [
    "kernel 100",
    "cmdline 17",
    `metadata ${encodeMetadata(METADATA).length}`,
    "ramdisk 50",
    "ramdisk 70",
  ]);
  assertEquals([description.crc.ok, checkEif(description)], [true, [{ name: "CRC", problem: undefined }]]);
});

Deno.test("a file is written whole or not at all, and nothing is left beside it", async () => {
  await using folder = await Folder.make();
  const directory = folder.path;
  const path = `${directory}/a.eif`;
  const written = await writeEifFile(path, smallParts());
  const { measurements, size } = await describeEif(path);
  assertEquals([measurements, size], [written.measurements, written.size]);
  const shrinking = { name: "shrinking", size: 10, read: () => Promise.resolve(0) };
  await assertRejects(() => writeEifFile(path, smallParts({ kernel: shrinking })), EifError, "shorter");
  await assertRejects(
    () => writeEifFile(`${directory}/none/a.eif`, smallParts()),
    EifError,
    "Cannot write",
  );
  assertEquals((await describeEif(path)).measurements, written.measurements);
  assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name), ["a.eif"]);
});

for (const path of ["/nonexistent/a.eif", "/tmp", "/dev/null"]) {
  Deno.test(`${path} is no image, and says so`, async () => {
    assertEquals((await assertRejects(() => describeEif(path), EifError, path)).code, "eif_unreadable");
  });
}

type Change = readonly [string, (image: Uint8Array<ArrayBuffer>) => Uint8Array, RegExp];
/** By code: what is done to a good image, and what is said of it then. */
const HOSTILE: Readonly<Record<string, readonly Change[]>> = {
  eif_magic: [
    ["an empty file", () => new Uint8Array(0), /not an enclave image/],
  ],
  eif_truncated: [
    ["half a header", (image) => image.subarray(0, 300), /within the header, after 300/],
    ["a header alone", (image) => image.subarray(0, HEADER_LENGTH), /section 0 begins where/],
    ["half a kernel", (image) => image.subarray(0, HEADER_LENGTH + 30), /has 100 bytes .* 18 more/],
    [
      "a size near 2^64",
      (image) => set64(set64(image, 284, 2n ** 64n - 1n), HEADER_LENGTH + 4, 2n ** 64n - 1n),
      /18446744073709551615 bytes/,
    ],
  ],
  eif_layout: [
    ["a byte more", (image) => new Uint8Array([...image, 0]), /goes on after its last section, for 1/],
    ["an offset into the header", (image) => set64(image, 28, 0n), /section 0 should begin at 548/],
    ["overlapping sections", (image) => set64(image, 36, 600n), /section 1 should begin/],
    ["a gap", (image) => set64(image, 36, 700n), /section 1 should begin/],
    ["two sizes", (image) => set64(image, 284, 99n), /100 bytes by its own header, and 99/],
  ],
  eif_version: [
    ["version 5", (image) => set16(image, 4, 5), /version 5/],
  ],
  eif_sections: [
    ["33 sections", (image) => set16(image, 26, 33), /claims 33/],
    ["a section of no kind", (image) => set16(image, HEADER_LENGTH, 0), /kind 0/],
    ["a ramdisk first", (image) => set16(image, HEADER_LENGTH, 3), /no cmdline comes before it/],
    ["two kernels", (image) => set16(image, HEADER_LENGTH + 112, 1), /a second kernel/],
  ],
  eif_metadata: [
    ["metadata that are no JSON", (image) => (image[HEADER_LENGTH + 153] = 0x78, image), /not JSON/],
  ],
};

function set16(image: Uint8Array<ArrayBuffer>, at: number, value: number): Uint8Array<ArrayBuffer> {
  new DataView(image.buffer).setUint16(at, value);
  return image;
}

function set64(image: Uint8Array<ArrayBuffer>, at: number, value: bigint): Uint8Array<ArrayBuffer> {
  new DataView(image.buffer).setBigUint64(at, value);
  return image;
}

for (
  const [code, what, change, message] of Object.entries(HOSTILE).flatMap(([code, rows]) =>
    rows.map((row) => [code, ...row] as const)
  )
) {
  Deno.test(`an image with ${what} is refused as ${code}`, async () => {
    const error = await assertRejects(async () => read(change(await imageOf(smallParts()))), EifError);
    assertEquals(error.code, code);
    assertMatch(error.message, message);
    assertEquals(error.hint === undefined, false);
  });
}

/** An image of any version and sections, as no tool would make it. */
function assemble(
  version: number,
  sections: readonly (readonly [SectionType, string])[],
): Uint8Array<ArrayBuffer> {
  const places: SectionPlace[] = [];
  const bytes: number[] = [];
  for (const [type, content] of sections) {
    const data = text(content);
    places.push({ offset: BigInt(HEADER_LENGTH + bytes.length), size: BigInt(data.length) });
    bytes.push(...encodeSectionHeader(type, BigInt(data.length)), ...data);
  }
  const header = { version, flags: 0, defaultMemory: 0n, defaultCpus: 0n, sections: places, crc: 0 };
  return mend(new Uint8Array([...encodeHeader(header), ...bytes]));
}

const METADATA_TEXT = new TextDecoder().decode(encodeMetadata(METADATA));
const ASSEMBLED: readonly (readonly [number, readonly SectionType[], string | undefined])[] = [
  [4, ["kernel", "cmdline", "metadata", "ramdisk"], undefined],
  [4, ["kernel", "cmdline", "ramdisk", "ramdisk", "metadata"], undefined],
  [3, ["kernel", "cmdline", "ramdisk"], undefined],
  [2, ["kernel", "cmdline", "ramdisk"], undefined],
  [4, ["kernel", "cmdline", "ramdisk"], "no metadata"],
  [4, ["kernel", "cmdline", "metadata"], "no ramdisk"],
  [4, ["metadata"], "no ramdisk"],
  [4, [], "no ramdisk"],
  [4, ["kernel", "metadata", "ramdisk"], "no cmdline comes before"],
  [4, ["kernel", "metadata", "ramdisk", "cmdline"], "no cmdline comes before"],
  [4, ["cmdline", "kernel", "metadata", "ramdisk"], "no kernel comes before"],
  [4, ["kernel", "cmdline", "metadata", "cmdline", "ramdisk"], "a second cmdline"],
  [4, ["kernel", "cmdline", "metadata", "metadata", "ramdisk"], "a second metadata"],
];
for (const [version, types, refused] of ASSEMBLED) {
  Deno.test(`version ${version} of ${types.join(", ") || "nothing"} is ${refused ?? "read"}`, async () => {
    const image = assemble(version, types.map((type) => [type, type === "metadata" ? METADATA_TEXT : type]));
    if (refused !== undefined) await assertRejects(() => read(image), EifError, refused);
    else {
      const { crc, metadata } = await read(image);
      assertEquals([crc.ok, metadata === undefined], [true, version < 4]);
    }
  });
}

Deno.test("what would have to be held in memory is refused before it is read", async () => {
  const asked: number[] = [];
  const header = (await imageOf(smallParts())).slice(0, HEADER_LENGTH + 112 + 12);
  const huge = 3 * 2 ** 30;
  set64(set64(header, 292, BigInt(huge)), HEADER_LENGTH + 112 + 4, BigInt(huge));
  const error = await assertRejects(() =>
    readEif({
      name: "a.eif",
      size: huge + 10_000,
      read: (at, into) => {
        asked.push(into.length);
        into.set(header.subarray(at, at + into.length));
        return Promise.resolve(into.length);
      },
    }), EifError);
  assertEquals([error.code, Math.max(...asked)], ["eif_too_large", HEADER_LENGTH]);
});

Deno.test("an image with a wrong CRC is described, and is not valid", async () => {
  const image = await imageOf(smallParts());
  image[image.length - 1] = 9;
  const description = await read(image);
  assertEquals([description.crc.ok, nitroCliShape(description)["CheckCRC"]], [false, false]);
  assertMatch(checkEif(description)[0]?.problem ?? "", /^the header says [0-9a-f]{8}, the bytes make/);
});

Deno.test("metadata as deep as serde_json reads them are read, and no deeper", () => {
  const nested = (depth: number) =>
    text(
      JSON.stringify({ ...METADATA, CustomMetadata: "@" }).replace(
        '"@"',
        `${"[".repeat(depth)}"]\\"["${"]".repeat(depth)}`,
      ),
    );
  assertEquals(decodeMetadata(nested(126), "a").ImageName, "denclave");
  assertThrows(() => decodeMetadata(nested(127), "a"), EifError, "not JSON");
  assertThrows(() => decodeMetadata(nested(300_000), "a"), EifError, "not JSON");
});

const BAD_METADATA: readonly (readonly [unknown, string])[] = [
  [null, "an object"],
  [[], "an object"],
  [{}, "BuildMetadata"],
  [{ ...METADATA, ImageName: 1 }, "ImageName"],
  [{ ...METADATA, BuildMetadata: { ...METADATA.BuildMetadata, BuildTime: null } }, "BuildTime"],
  [{ BuildMetadata: METADATA.BuildMetadata, __proto__: { ImageName: "a", ImageVersion: "b" } }, "ImageName"],
];
for (const [value, lacks] of BAD_METADATA) {
  Deno.test(`metadata ${JSON.stringify(value).slice(0, 40)} lack ${lacks}`, () => {
    assertThrows(() => decodeMetadata(text(JSON.stringify(value)), "a"), EifError, lacks);
  });
}

for (const curve of ["P256", "P384", "P521"] as const) {
  Deno.test(`an image signed by a key on ${curve} holds, and has PCR8 of its certificate`, async () => {
    const image = await imageOf(smallParts({ signer: await signerOf(curve) }));
    const description = await read(image);
    assertEquals([description.signature?.problem, description.crc.ok], [undefined, true]);
    const shape = nitroCliShape(description);
    assertEquals([shape["IsSigned"], shape["SignatureCheck"]], [true, true]);
    const certificate = shape["SigningCertificate"] as Record<string, unknown>;
    assertEquals(certificate["IssuerName"], {
      countryName: "US",
      stateOrProvinceName: "Washington",
      localityName: "Seattle",
      organizationName: "Denclave Tests",
      organizationalUnitName: "Images",
      commonName: `eif ${curve}`,
    });
    assertEquals(certificate["Algorithm"], "ecdsa-with-SHA384");
    assertMatch(String(certificate["Signature"]), /^30:[0-9A-F:]+$/);
    assertMatch(description.measurements.PCR8 ?? "", /^[0-9a-f]{96}$/);
    const { PCR8: _signed, ...unsigned } = description.measurements;
    assertEquals((await read(await imageOf(smallParts()))).measurements, unsigned);
  });
}

Deno.test("an image that was changed after signing is refused", async () => {
  const image = await imageOf(smallParts({ signer: await signerOf("P384") }));
  image[HEADER_LENGTH + 20] = 9;
  const { crc, signature } = await read(mend(image));
  assertEquals([crc.ok, signature?.problem?.startsWith("it is over other measurements")], [true, true]);
});

Deno.test("a signature by another key than its certificate's is refused", async () => {
  const own = await signerOf("P256");
  const { privateKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, [
    "sign",
    "verify",
  ]);
  const signer = { ...own, key: privateKey };
  const { signature } = await read(await imageOf(smallParts({ signer })));
  assertEquals(signature?.problem, "it was not made by its certificate's key");
  const { curve, key } = await signerOf("P384");
  const wrongCurve = { ...own, curve, key };
  assertMatch(
    (await read(await imageOf(smallParts({ signer: wrongCurve })))).signature?.problem ?? "",
    /algorithm is not its certificate's, ES256/,
  );
});

Deno.test("a certificate is valid only between its dates", async () => {
  const description = await read(await imageOf(smallParts({ signer: await signerOf("P256") })));
  const problems = (now: Date) => checkEif(description, { now }).map(({ problem }) => problem);
  assertEquals(problems(new Date("2050-01-01")), [undefined, undefined, undefined]);
  assertMatch(problems(new Date("2020-01-01"))[2] ?? "", /not valid before/);
  assertMatch(problems(new Date("2200-01-01"))[2] ?? "", /expired at/);
});

Deno.test("expected measurements are compared, and PCR8 is missed where nothing is signed", async () => {
  const description = await read(await imageOf(smallParts()));
  const { PCR0 } = description.measurements;
  const checks = checkEif(description, { expected: { PCR0, PCR1: "00", PCR8: "00" } });
  assertEquals(checks.map(({ name, problem }) => `${name} ${problem === undefined}`), [
    "CRC true",
    "PCR0 true",
    "PCR1 false",
    "PCR8 false",
  ]);
});

/** A certificate with a byte after its end. */
function longer(pem: string): string {
  const [begin = "", ...base64] = pem.trim().split("\n");
  const end = base64.pop() ?? "";
  return [begin, encodeBase64(new Uint8Array([...decodeBase64(base64.join("")), 0])), end, ""].join("\n");
}

Deno.test("the certificate of PCR8 is the first one that begins on a line of its own, as OpenSSL takes it", async () => {
  const { P256, P384 } = SIGNING;
  const plain = await openSigner(text(P256.key), text(P256.certificate));
  const before = `a comment ${P384.certificate.split("\n")[0]}\n${P256.certificate}${P384.certificate}`;
  const found = await openSigner(text(P256.key), text(before.replaceAll("\n", "\r\n")));
  assertEquals(found.certificate.der, plain.certificate.der);
});

Deno.test("keys and certificates that cannot sign are refused, and nothing of the key is in the message", async () => {
  const { P256, P384 } = SIGNING;
  const cases: [string, string, RegExp][] = [
    [P256.key, P384.certificate, /does not belong to/],
    [P256.certificate, P256.certificate, /signing key cannot be read/],
    ["", P256.certificate, /signing key cannot be read/],
    [P256.key.replaceAll("M", "N"), P256.certificate, /signing key cannot be read|does not belong to/],
    [ED25519_KEY, P256.certificate, /of a kind that cannot sign/],
    [P256.key, "nothing", /certificate cannot be read: no line of it is BEGIN CERTIFICATE/],
    // Where OpenSSL, and so AWS's tools, would take another certificate or other bytes into PCR8.
    [P256.key, `text ${P256.certificate}`, /no line of it is BEGIN CERTIFICATE/],
    [P256.key, P256.certificate.replaceAll(" CERT", " TRUSTED CERT"), /labelled TRUSTED CERTIFICATE/],
    [P256.key, `${P384.certificate.replaceAll(" CERT", " X509 CERT")}${P256.certificate}`, /labelled X509/],
    [P256.key, P256.certificate.replace("\n", "\nComment: a\n"), /more than base64/],
    [P256.key, longer(P256.certificate), /1 bytes follow the end/],
    [P256.key, P256.certificate.replaceAll("M", "N"), /certificate cannot be read/],
  ];
  for (const [key, certificate, message] of cases) {
    const error = await assertRejects(() => openSigner(text(key), text(certificate)), EifError);
    assertEquals(error.code, "eif_signature");
    assertMatch(error.message, message);
    assertEquals(key.length > 20 && error.message.includes(key.slice(60, 70)), false);
  }
});

Deno.test("invalid signature sections are refused", async () => {
  const parts = smallParts();
  const signed = await imageOf({ ...parts, signer: await signerOf("P256") });
  const { sections } = await read(signed);
  const place = sections.at(-1) ?? { offset: 0, size: 0 };
  const pem = [...text(SIGNING.P256.certificate)];
  const bodies: unknown[] = [
    [],
    {},
    [{}, {}],
    [{ signing_certificate: new Uint8Array(pem), signature: [1] }],
    [{ signing_certificate: [256], signature: [] }],
    [{ signing_certificate: [1, 2], signature: [1] }],
  ];
  for (const body of bodies) {
    const bytes = encode(body);
    const image = new Uint8Array(place.offset + bytes.length);
    image.set(signed.subarray(0, place.offset));
    image.set(bytes, place.offset);
    set64(set64(image, 284 + 8 * 5, BigInt(bytes.length)), place.offset - 8, BigInt(bytes.length));
    assertEquals((await assertRejects(() => read(image), EifError)).code, "eif_signature");
  }
  const cose = encode([{ signing_certificate: pem, signature: [1] }]);
  const image = new Uint8Array(place.offset + cose.length);
  image.set(signed.subarray(0, place.offset));
  image.set(cose, place.offset);
  // The file's header still has the old size, as AWS's tool leaves it when it signs again.
  set64(image, place.offset - 8, BigInt(cose.length));
  assertMatch((await read(image)).signature?.problem ?? "", /not a COSE_Sign1/);
});

Deno.test("parts that do not form an image are refused", async () => {
  const ramdisk = bytesSource(new Uint8Array(1));
  const cases: [Parameters<typeof smallParts>[0], string][] = [
    [{ ramdisks: [] }, "no ramdisk"],
    [{ ramdisks: Array(30).fill(ramdisk) }, "33 sections"],
    [{ commandLine: "a\0b" }, "NUL"],
    [{ commandLine: "a".repeat(70_000) }, "70000 bytes"],
    [{ metadata: { ...METADATA, ImageName: "a".repeat(2 ** 20) } }, "metadata of"],
  ];
  for (const [changes, message] of cases) {
    await assertRejects(() => imageOf(smallParts(changes)), EifError, message);
  }
  assertEquals((await read(await imageOf(smallParts({ ramdisks: Array(29).fill(ramdisk) })))).crc.ok, true);
});

Deno.test("what is hashed on the way has to be read to its end, in order", async () => {
  const hashed = hashSource(bytesSource(text("abc")));
  await readExactly(hashed, 0, 2);
  assertThrows(() => hashed.digest(), Error, "up to 2 of 3");
  await assertRejects(() => hashed.read(0, new Uint8Array(1)), Error, "not read in order");
  await readExactly(hashed, 2, 1);
  assertEquals(hashed.digest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});
