/**
 * The Prometheus client library (`prom-client`, Apache-2.0): writes metrics as text. In `ctl.lock`, never in
 * `enclave.lock`.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { Counter, Gauge, Registry } from "npm:prom-client@15.1.3";
