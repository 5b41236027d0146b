/** Partitions and KMS's host names: a row for each partition. */
import { assertEquals, assertThrows } from "@std/assert";
import { parseKeyArn } from "../../../../lib/shared/aws/key_arn.ts";
import { kmsHost, partitionOf } from "../../../../lib/shared/aws/partitions.ts";
import { EnclaveError } from "../../../../lib/shared/errors.ts";
import { parseDevelopmentKey } from "../../../../lib/shared/aws/development_key.ts";
import { KMS_HOSTS } from "../../../fixtures/regions.ts";

const KEY = ":111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

for (const [region, partition, host] of KMS_HOSTS) {
  Deno.test(`in ${region} KMS is ${host}, and keys are of the partition ${partition}`, () => {
    assertEquals([partitionOf(region).name, kmsHost(region)], [partition, host]);
    assertEquals(parseKeyArn(`arn:${partition}:kms:${region}${KEY}`).partition, partition);
    assertEquals(parseDevelopmentKey("alias/mine", region).partition, partition);
    for (const other of new Set(KMS_HOSTS.map(([, name]) => name).filter((name) => name !== partition))) {
      const arn = `arn:${other}:kms:${region}${KEY}`;
      assertEquals(assertThrows(() => parseKeyArn(arn), EnclaveError).code, "invalid_key_arn", arn);
    }
  });
}
