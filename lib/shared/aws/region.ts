/**
 * The names of AWS regions.
 *
 * @module
 */

const REGION = /^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$/;
const MAX_REGION_LENGTH = 32;

/** Whether a string has the shape of a region's name. It becomes part of the host name that TLS checks. */
export function isRegion(region: string): boolean {
  return region.length <= MAX_REGION_LENGTH && REGION.test(region);
}
