/**
 * AWS's partitions, and KMS's host name in a region. The enclave asks for the name that the SDK derives
 * from the region (`source/rest.c`, v0.4.4; older versions end it in amazonaws.com everywhere), so every
 * other program derives it in the same way.
 *
 * @module
 */

/** A partition, as ARNs name it, and the end of its host names. */
interface Partition {
  readonly name: string;
  readonly suffix: string;
}

/**
 * By how the names of a partition's regions begin. The SDK's table lacks GovCloud, whose suffix is the
 * commercial one.
 */
const PARTITIONS: readonly (readonly [string, Partition])[] = [
  ["cn-", { name: "aws-cn", suffix: "amazonaws.com.cn" }],
  ["us-gov-", { name: "aws-us-gov", suffix: "amazonaws.com" }],
  ["eusc-", { name: "aws-eusc", suffix: "amazonaws.eu" }],
  ["us-iso-", { name: "aws-iso", suffix: "c2s.ic.gov" }],
  ["us-isob-", { name: "aws-iso-b", suffix: "sc2s.sgov.gov" }],
  ["eu-isoe-", { name: "aws-iso-e", suffix: "cloud.adc-e.uk" }],
  ["us-isof-", { name: "aws-iso-f", suffix: "csp.hci.ic.gov" }],
];
const COMMERCIAL: Partition = { name: "aws", suffix: "amazonaws.com" };

/** The partition that a region belongs to. */
export function partitionOf(region: string): Partition {
  return PARTITIONS.find(([start]) => region.startsWith(start))?.[1] ?? COMMERCIAL;
}

/** KMS's host name in a region. */
export function kmsHost(region: string): string {
  return `kms.${region}.${partitionOf(region).suffix}`;
}
