/**
 * Random numbers for programs on a host: denclavectl, clients, the development service, tests. Never in the
 * enclave.
 *
 * @module
 */
import { Random } from "./random.ts";

/** The runtime's generator: a host's kernel has seeded it. */
export const HOST_RANDOM: Random = new Random({ kernel: undefined, nsm: undefined });
