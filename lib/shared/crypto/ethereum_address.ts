/**
 * Ethereum addresses: 20 bytes, written with the checksum of EIP-55.
 *
 * @module
 */
import { decodeHex } from "@std/encoding";
import { addr } from "micro-eth-signer";
import { publicKeyOf } from "./secp256k1.ts";
import type { SecretBytes } from "./secret_bytes.ts";
import { refuse } from "./payload_error.ts";

/** A parsed address. */
export interface EthereumAddress {
  /** 20 bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** `0x` and 40 hex digits, with the EIP-55 checksum case. */
  readonly text: string;
}

/**
 * Reads an address. An address in mixed case must have a valid checksum.
 *
 * @param name of the field, for the message
 * @throws {PayloadError}
 */
export function parseAddress(text: unknown, name: string): EthereumAddress {
  if (typeof text !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(text)) {
    return refuse(name, "must be an address: 0x and 40 hex digits");
  }
  const checksummed = addr.addChecksum(text);
  const digits = text.slice(2);
  // An address whose letters all have the same case has no checksum.
  if (![checksummed.slice(2), digits.toLowerCase(), digits.toUpperCase()].includes(digits)) {
    refuse(name, "is not the address that its checksum (EIP-55) speaks of: a character changed");
  }
  return { bytes: decodeHex(digits), text: checksummed };
}

/** The address of a secret key. */
export function addressOf(secretKey: SecretBytes): EthereumAddress {
  const text = addr.fromPublicKey(publicKeyOf(secretKey, "uncompressed"));
  return { bytes: decodeHex(text.slice(2)), text };
}
