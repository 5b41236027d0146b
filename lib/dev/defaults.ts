/**
 * The service's settings as they are without an option: for dry runs and tests.
 *
 * @module
 */
import { parseOptions } from "../shared/cli/options.ts";
import { type Limits, limitsFor } from "../shared/cli/limits.ts";
import type { SealedConfig } from "../shared/cli/sealed_options.ts";
import { readServeConfig, SERVE_OPTIONS } from "../shared/cli/serve_options.ts";
import type { WalletGuards } from "../shared/cli/wallet_options.ts";

const { wallet, sealed, limits } = readServeConfig(parseOptions(SERVE_OPTIONS, []));

/** No rule at all. */
export const NO_GUARDS: WalletGuards = wallet.guards;
/** Requests may be sealed or not, from any client. */
export const OPEN_TO_ALL: SealedConfig = sealed;
/** On a machine whose memory is not known. */
export const DEFAULT_LIMITS: Limits = limitsFor(limits, {});
