/** Region names. */
import { assertEquals } from "@std/assert";
import { isRegion } from "../../../../lib/shared/aws/region.ts";

for (
  const region of [
    "us-east-1",
    "ap-southeast-2",
    "us-gov-west-1",
    "us-iso-east-1",
    "eusc-de-east-1",
    "cn-north-1",
  ]
) {
  Deno.test(`${region} is a region`, () => assertEquals(isRegion(region), true));
}
for (
  const region of [
    "",
    "us-east",
    "US-EAST-1",
    "us-east-1.evil.example",
    "us-east-1/",
    "us-east-1\n",
    "1-a-1",
    "us-" + "a".repeat(30) + "-1",
    "us-east-123",
  ]
) {
  Deno.test(`${JSON.stringify(region)} is no region`, () => assertEquals(isRegion(region), false));
}
