/** A program that is watched: writes more than a pipe can hold if told to, and waits until its stdin ends. */
import { startWatchdog } from "../../ffi/watchdog.ts";

const [silenceMs, ...rest] = Deno.args;
using _watchdog = await startWatchdog({ silenceMs: Number(silenceMs), exitCode: 70 });
Deno.stderr.writeSync(new TextEncoder().encode("ready\n"));
if (rest.includes("fill-stdout")) Deno.stdout.writeSync(new Uint8Array(1 << 20));
for await (const _ of Deno.stdin.readable) { /* until it ends */ }
