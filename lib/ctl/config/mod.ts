/**
 * The configuration files of the parent and of development.
 *
 * @module
 */
export { type Config, type EnclaveConfig, parseConfig, readConfigFile } from "./config.ts";
export { ConfigError } from "./errors.ts";
