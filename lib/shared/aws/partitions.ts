/**
 * AWS's partitions, and KMS's host name in a region. The enclave asks for the name that the SDK derives
 * from the region (`source/rest.c`, v0.4.4; older versions end it in amazonaws.com everywhere), so every
 * other program derives it in the same way.
 *
 * @module
 */

/** A partition, as ARNs name it, the end of its host names, and how the names of its regions begin. */
const COMMERCIAL = { regions: "", name: "aws", suffix: "amazonaws.com" };

/** The SDK's table lacks GovCloud, whose suffix is the commercial one. */
const PARTITIONS: readonly Readonly<typeof COMMERCIAL>[] = [
  { regions: "cn-", name: "aws-cn", suffix: "amazonaws.com.cn" },
  { regions: "us-gov-", name: "aws-us-gov", suffix: "amazonaws.com" },
  { regions: "eusc-", name: "aws-eusc", suffix: "amazonaws.eu" },
  { regions: "us-iso-", name: "aws-iso", suffix: "c2s.ic.gov" },
  { regions: "us-isob-", name: "aws-iso-b", suffix: "sc2s.sgov.gov" },
  { regions: "eu-isoe-", name: "aws-iso-e", suffix: "cloud.adc-e.uk" },
  { regions: "us-isof-", name: "aws-iso-f", suffix: "csp.hci.ic.gov" },
];

/** The partition that a region belongs to. */
export function partitionOf(region: string): Readonly<typeof COMMERCIAL> {
  return PARTITIONS.find(({ regions }) => region.startsWith(regions)) ?? COMMERCIAL;
}

/** KMS's host name in a region. */
export function kmsHost(region: string): string {
  return `kms.${region}.${partitionOf(region).suffix}`;
}
