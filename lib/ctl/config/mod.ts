/**
 * The configuration files of the parent and of development.
 *
 * @module
 */
export {
  type Config,
  type ConfigLimits,
  type EnclaveConfig,
  type Environment,
  type KmsConfig,
  parseConfig,
  readConfigFile,
} from "./config.ts";
export { ConfigError, type ConfigProblem, type Position } from "./errors.ts";
