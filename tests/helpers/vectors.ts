/**
 * Data from outside this repository: real attestation documents, typed data, key policies. Undefined if missing, which is reported.
 *
 * @module
 */
import { skipTests } from "./skip.ts";
const FOLDER = new URL("../../../shared/vectors/attestation/", import.meta.url);
const TYPED_DATA = new URL("../../../shared/vectors/typed_data/", import.meta.url);
const POLICIES = new URL("../../../shared/vectors/policies/", import.meta.url);

/** A real document, and a time at which its certificates were valid. */
export interface RealDocument {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly at: Date;
}

/** The real documents, of production enclaves and of enclaves in debug mode. AWS writes the payload as a map of indefinite length since 2025. */
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

/** Reads them, if the folder is there. */
export function realDocuments(): RealDocuments | undefined {
  try {
    const read = (name: string) => Deno.readFileSync(new URL(name, FOLDER));
    return {
      production: { bytes: read("real-1.bin"), at: new Date(1_665_651_482_136) },
      debug: { bytes: read("real-debug.bin"), at: new Date(1_665_582_606_081) },
      production2025: { bytes: read("real-2025-12.bin"), at: new Date(1_766_678_659_346) },
      debug2025: { bytes: read("real-2025-08-debug.bin"), at: new Date(1_755_506_509_491) },
      root: new TextDecoder().decode(read("aws-nitro-root-g1.pem")),
    };
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
    skipTests("the real attestation documents, since there is no ../shared/vectors/attestation");
    return undefined;
  }
}

/** Typed data as applications send it. */
export interface TypedDataVector {
  readonly primaryType: string;
  readonly domain: { readonly chainId: number; readonly verifyingContract: string };
}

/** Reads them by file name, if the folder is there. */
export function typedDataVectors(): Readonly<Record<string, TypedDataVector>> | undefined {
  try {
    const read = (name: string) => JSON.parse(Deno.readTextFileSync(new URL(name, TYPED_DATA)));
    return Object.fromEntries(
      ["hyperliquid_usdsend.json", "seaport_bulk_5.json"].map((name) => [name, read(name)]),
    );
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
    skipTests("typed data of others, since there is no ../shared/vectors/typed_data");
    return undefined;
  }
}

/** A key policy's text by its file's name, if the folder is there. */
export function policyVector(name: string): string | undefined {
  try {
    return Deno.readTextFileSync(new URL(name, POLICIES));
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
    skipTests(`the key policy ${name}, since there is no ../shared/vectors/policies`);
    return undefined;
  }
}
