/**
 * The wallet for the benchmark, as its own process, over the local KMS and with a cache of opened keys. Prints its port; then makes an account
 * for whoever connects.
 *
 * @module
 */
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";
import { NO_GUARDS } from "../../lib/dev/defaults.ts";
import { startTestService } from "../helpers/test_service.ts";

const kms = await LocalKms.open({ region: "us-east-1" });
const { address } = startTestService({
  kms,
  keys: kms.keyArns.map(parseKeyArn),
  wallet: { guards: NO_GUARDS, cache: { entries: 16, maxAgeMs: 300_000 } },
});
console.log(address.port);
