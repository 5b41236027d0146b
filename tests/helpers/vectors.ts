/**
 * Data that others made, from outside this repository: tests/README.md says where it comes from. What is
 * missing is reported.
 *
 * Needs permission to read the variable `DENCLAVE_VECTORS`, which names the folder.
 *
 * @module
 */
import { skipTests } from "./skip.ts";

/** The folder: `../shared/vectors` without the variable. */
export const VECTORS: string = Deno.env.get("DENCLAVE_VECTORS") ||
  new URL("../../../shared/vectors", import.meta.url).pathname;

/** Reads a file of the folder. */
export type ReadVector = (path: string) => Uint8Array<ArrayBuffer>;

/** Reads files, if they are there. @param what they are, in the report */
export function readVectors<T>(what: string, read: (file: ReadVector) => T): T | undefined {
  try {
    return read((path) => Deno.readFileSync(`${VECTORS}/${path}`));
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
    skipTests(`${what}, since ${VECTORS} does not have them (tests/README.md says where to find them)`);
    return undefined;
  }
}

/** A real document, and a time at which its certificates were valid. */
export interface RealDocument {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly at: Date;
}

/**
 * The real documents, of production enclaves and of enclaves in debug mode. AWS writes the payload as a map
 * of indefinite length since 2025.
 */
export interface RealDocuments {
  readonly production: RealDocument;
  readonly debug: RealDocument;
  readonly production2025: RealDocument;
  readonly debug2025: RealDocument;
  /** PEM, as AWS publishes it. */
  readonly root: string;
}

/** The names of the documents. */
export const REAL_DOCUMENTS = ["production", "debug", "production2025", "debug2025"] as const;

/** Reads them, if they are there. */
export function realDocuments(): RealDocuments | undefined {
  return readVectors("the real attestation documents", (file) => ({
    production: { bytes: file("attestation/real-1.bin"), at: new Date(1_665_651_482_136) },
    debug: { bytes: file("attestation/real-debug.bin"), at: new Date(1_665_582_606_081) },
    production2025: { bytes: file("attestation/real-2025-12.bin"), at: new Date(1_766_678_659_346) },
    debug2025: { bytes: file("attestation/real-2025-08-debug.bin"), at: new Date(1_755_506_509_491) },
    root: new TextDecoder().decode(file("attestation/aws-nitro-root-g1.pem")),
  }));
}

/** Typed data as applications send it. */
export interface TypedDataVector {
  readonly types: Readonly<Record<string, readonly { readonly name: string; readonly type: string }[]>>;
  readonly message: Readonly<Record<string, unknown>>;
  readonly primaryType: string;
  readonly domain: { readonly chainId: number; readonly verifyingContract: string };
}

/** Reads them by file name, if they are there. */
export function typedDataVectors(): Readonly<Record<string, TypedDataVector>> | undefined {
  const names = ["hyperliquid_usdsend.json", "seaport_bulk_5.json"];
  return readVectors("typed data of others", (file) => {
    const read = (name: string) => JSON.parse(new TextDecoder().decode(file(`typed_data/${name}`)));
    return Object.fromEntries(names.map((name) => [name, read(name)]));
  });
}

/** A key policy's text by its file's name, if it is there. */
export function policyVector(name: string): string | undefined {
  return readVectors(
    `the key policy ${name}`,
    (file) => new TextDecoder().decode(file(`policies/${name}`)),
  );
}
