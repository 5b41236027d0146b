/**
 * The wallet for the benchmark, as its own process, over the local KMS and with a cache of opened keys. Prints its port; then makes an account
 * for whoever connects.
 *
 * @module
 */
import { parseKeyArn } from "../../lib/aws/key_arn.ts";
import { LocalKms } from "../../lib/kms/local.ts";
import { EventLog } from "../../lib/service/events.ts";
import { startService } from "../../lib/service/start.ts";
import { NO_GUARDS } from "../../lib/service/wallet_guards.ts";
import { listen } from "../../lib/wire/address.ts";
import { workflow } from "../../lib/workflow.ts";
import { TEST_SERVICE } from "../helpers/test_service.ts";

const kms = await LocalKms.open({ region: "us-east-1" });
const { listener, address } = listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
startService({
  ...TEST_SERVICE,
  kms,
  acceptor: listener,
  session: {
    keys: kms.keyArns.map(parseKeyArn),
    region: undefined,
    context: undefined,
    configureOnce: false,
    requireEpoch: false,
    workflow,
  },
  wallet: { guards: NO_GUARDS, cache: { entries: 16, maxAgeMs: 300_000 } },
  events: new EventLog({ write: () => {}, level: "info" }),
});
if (address.transport === "tcp") console.log(address.port);
