/**
 * The features of the enclave. A new one is added here.
 *
 * @module
 */
import type { ServeConfig } from "../shared/cli/serve_options.ts";
import { MasterKeyService } from "./master_key/master_key.ts";
import { ReceiptService } from "./receipts/receipts.ts";
import { SealedService } from "./sealed/sealed.ts";
import type { Feature, Ports } from "./server/feature.ts";
import { type SessionKeyOptions, SessionKeyService } from "./session_key/session_key.ts";
import { type WalletOptions, WalletService } from "./wallet/wallet.ts";

/** The settings of all features. */
export interface FeatureOptions
  extends Omit<SessionKeyOptions, "receipts">, Pick<ServeConfig, "minEpoch" | "sealed"> {
  readonly wallet: WalletOptions;
}

/** Makes them. */
export function openFeatures(options: FeatureOptions, ports: Ports): readonly Feature[] {
  const receipts = new ReceiptService(ports);
  return [
    new SessionKeyService({ ...options, receipts }, ports),
    new WalletService(options.wallet, ports),
    new MasterKeyService({ ...options, receipts }, ports),
    new SealedService(options.sealed, ports),
    receipts,
  ];
}
