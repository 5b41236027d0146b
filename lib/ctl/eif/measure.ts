/**
 * An image's measurements: what the NSM of an enclave made from it has in PCR0, PCR1, PCR2 and PCR8. Each is SHA-384(48 zero bytes ‖
 * SHA-384(data)). As found in AWS's aws-nitro-enclaves-image-format, `get_pcrs`.
 *
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import type { SectionType } from "./format.ts";

/** Hex, lower case, 96 digits each. */
export interface Measurements {
  /** Kernel, command line and every ramdisk. */
  readonly PCR0: string;
  /** Kernel, command line and the first ramdisk: what boots. */
  readonly PCR1: string;
  /** Every ramdisk but the first: the program. */
  readonly PCR2: string;
  /** The signing certificate; undefined when the image is not signed. */
  readonly PCR8?: string;
}

const PCR_LENGTH = 48;

/** What a PCR has after it was extended once with a digest. */
function extend(digest: Uint8Array): string {
  return createHash("sha384").update(new Uint8Array(PCR_LENGTH)).update(digest).digest("hex");
}

/** PCR8 of images that are signed with a certificate. @param der the certificate */
export function measureCertificate(der: Uint8Array): string {
  return extend(createHash("sha384").update(der).digest());
}

/** Measures an image's sections, which come in their order: kernel, command line, then ramdisks. */
export class Measurer {
  #image: Hash = createHash("sha384");
  #boot: Hash | undefined;
  #program: Hash = createHash("sha384");
  #ramdisks = 0;

  /** A section begins. */
  begin(type: SectionType): void {
    if (type !== "ramdisk") return;
    // PCR1 covers the same data as PCR0 up to the end of the first ramdisk, so one hash serves both until then.
    if (++this.#ramdisks === 2) this.#boot = this.#image.copy();
  }

  /** A piece of the section that began last. */
  update(type: SectionType, piece: Uint8Array): void {
    if (type === "signature" || type === "metadata") return;
    this.#image.update(piece);
    if (this.#ramdisks > 1) this.#program.update(piece);
  }

  /** PCR0 to PCR2. */
  finish(): Measurements {
    const boot = this.#boot ?? this.#image.copy();
    return {
      PCR0: extend(this.#image.digest()),
      PCR1: extend(boot.digest()),
      PCR2: extend(this.#program.digest()),
    };
  }
}
