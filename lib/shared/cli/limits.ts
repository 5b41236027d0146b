/**
 * The service's limits: every wait has a deadline, every buffer a cap.
 *
 * @module
 */
import { DEFAULT_MAX_LENGTH } from "../wire/framing.ts";
import { type Options, UsageError } from "./options.ts";
import { optionalNumber, readAll, type Values, wholeNumber } from "./settings.ts";

/**
 * Memory that a request takes for each byte of its message, while it is served: its text twice (decoded, and as a value), the bytes that a field
 * stands for, the result, and the reply. Measured: the first `process` of 10 MiB raises the peak of resident memory by 7.3 bytes a byte, of which 1 is the
 * buffer that the message arrived in, counted apart. Garbage of earlier requests comes on top of it (11.7 after three): the budget leaves room for that.
 */
export const BYTE_COST = 7;
const MIB = 1024 * 1024;
/** The longest time of an option. Milliseconds. */
export const MAX_TIMEOUT_MS = 3_600_000;

/** Limits on connections and requests. Memory for messages that is left out depends on the machine's. */
export const LIMIT_OPTIONS = {
  maxMessage: wholeNumber(
    { name: "max-message", value: "BYTES", default: DEFAULT_MAX_LENGTH, min: 64, max: 256 * MIB },
    "largest message",
  ),
  maxInFlight: optionalNumber(
    { name: "max-in-flight", value: "BYTES", min: MIB, max: 2 ** 40 },
    "memory for incoming messages and requests under way; further requests are answered busy; by default half of the memory that the processes leave, at most 512 MiB",
  ),
  maxConnections: wholeNumber(
    { name: "max-connections", value: "N", default: 64, min: 1, max: 10_000 },
    "connections served at the same time",
  ),
  idleMs: wholeNumber(
    { name: "idle-ms", value: "MS", default: 30_000, min: 10, max: MAX_TIMEOUT_MS },
    "close a connection that sends nothing for this long",
  ),
  /** From the first byte of a request to the last of its reply. */
  requestMs: wholeNumber(
    { name: "request-ms", value: "MS", default: 60_000, min: 10, max: MAX_TIMEOUT_MS },
    "time limit of one request",
  ),
};

/** The parsed options. */
export type LimitOptions = Values<typeof LIMIT_OPTIONS>;
/** The limits on a machine: the memory for messages is known. */
export type Limits = LimitOptions & { readonly maxInFlight: number };

/** @throws {UsageError} that names the option. */
export function readLimits(options: Options): LimitOptions {
  const limits = readAll(LIMIT_OPTIONS, options);
  const { maxMessage, maxInFlight } = limits;
  // Half of it is for requests in progress: one message of the largest size must fit.
  const least = 2 * BYTE_COST * maxMessage;
  if (maxInFlight === undefined || maxInFlight >= least) return limits;
  throw new UsageError(
    `--max-in-flight ${maxInFlight} is too little for --max-message ${maxMessage}`,
    `Give at least ${least}, ${2 * BYTE_COST} times the largest message, or lower --max-message.`,
  );
}

/**
 * What is kept for the kernel, the image's files, the service and one SDK process: with it, 512 MB hold
 * (production_suite.ts). Bytes.
 */
const OWN_MEMORY = 190 * MIB;
/** What each further SDK process needs (docs/benchmarks.md). Bytes. */
const SDK_PROCESS_MEMORY = 55 * MIB;
/** What each process of the workflow takes before its first request, the one that is kept ready too (docs/benchmarks.md). Bytes. */
const WORKFLOW_PROCESS_MEMORY = 45 * MIB;
/** What a process of the workflow may take for its work, unless that is configured. Bytes. */
const WORKFLOW_MEMORY = 128 * MIB;
/** The largest message and its result lie in a process several times. */
const WORKFLOW_BYTE_COST = 6;
/** The least that is given to messages, however little memory there is. Bytes. */
const LEAST_IN_FLIGHT = 16 * MIB;
/** The most that is given to messages unless that is configured. Bytes. */
const MOST_IN_FLIGHT = 512 * MIB;

/** A machine's memory, and what shares it with the service. */
interface MachineMemory {
  /** Bytes; undefined where it is not known. */
  readonly memory?: number | undefined;
  /** SDK processes; one unless given. */
  readonly sdkProcesses?: number | undefined;
  /** Processes of the workflow that work at the same time; one unless given. */
  readonly workflowProcesses?: number | undefined;
}

/** How the workflow is run. What is left out depends on the machine. */
export const WORKFLOW_OPTIONS = {
  processes: optionalNumber(
    { name: "workflow-processes", value: "N", min: 1, max: 16 },
    "processes that run the workflow; by default one less than there are processors, at most 4 and no more than the memory has room for",
  ),
  deadlineMs: wholeNumber(
    { name: "workflow-ms", value: "MS", default: 5000, min: 10, max: MAX_TIMEOUT_MS },
    "time that the workflow may work on a request; its process is ended then",
  ),
  memory: optionalNumber(
    { name: "workflow-memory", value: "BYTES", min: 16 * MIB, max: 2 ** 40 },
    "memory that the workflow may take in a process; by default what the largest message needs, and at least 128 MiB",
  ),
};

/**
 * How the workflow is run on a machine.
 *
 * @param processors that this process may use
 */
export function workflowLimitsFor(
  { processes, deadlineMs, memory: given }: Values<typeof WORKFLOW_OPTIONS>,
  { memory: all = Infinity, maxMessage, processors }: MachineMemory & {
    readonly maxMessage: number;
    readonly processors: number;
  },
): { readonly processes: number; readonly deadlineMs: number; readonly memory: number } {
  const memory = given ?? Math.max(WORKFLOW_MEMORY, WORKFLOW_BYTE_COST * maxMessage);
  const room = Math.floor((all - OWN_MEMORY) / (WORKFLOW_PROCESS_MEMORY + memory));
  return { processes: processes ?? Math.max(1, Math.min(processors - 1, 4, room)), deadlineMs, memory };
}

/**
 * What messages and requests can take: half of what is left, since V8 keeps about as much garbage. Bytes;
 * infinite where the memory is not known.
 */
function roomFor({ memory = Infinity, sdkProcesses = 1, workflowProcesses = 1 }: MachineMemory): number {
  const ofSdk = (sdkProcesses - 1) * SDK_PROCESS_MEMORY;
  const left = memory - OWN_MEMORY - ofSdk - (workflowProcesses + 1) * WORKFLOW_PROCESS_MEMORY;
  return Math.max(0, Math.floor(left / 2));
}

/** The limits on a machine. */
export function limitsFor(options: LimitOptions, machine: MachineMemory): Limits {
  const room = Math.max(LEAST_IN_FLIGHT, roomFor(machine));
  return { ...options, maxInFlight: options.maxInFlight ?? Math.min(MOST_IN_FLIGHT, room) };
}

/** Warnings about limits that do not fit the machine's memory. */
export function memoryWarnings(
  { maxInFlight, maxMessage }: Limits,
  machine: MachineMemory,
): readonly string[] {
  const inMib = (bytes: number) => `${Math.floor(bytes / MIB)} MiB`;
  const room = roomFor(machine);
  const largest = Math.floor(maxInFlight / (2 * BYTE_COST));
  const [taken, left, memory] = [maxInFlight, room, machine.memory ?? 0].map(inMib);
  return [
    ...(maxInFlight <= room ? [] : [
      `messages may take ${taken} (--max-in-flight), more than the ${left} that a memory of ${memory} has room for: the kernel may end the service`,
    ]),
    ...(largest >= maxMessage ? [] : [
      `the memory for messages, ${taken} (--max-in-flight), is too little for --max-message ${maxMessage}: those of more than ${largest} bytes are refused`,
    ]),
  ];
}
