/**
 * A package that does something when it is imported: it prints, and changes what every other module uses.
 *
 * @module
 */
import process from "node:process";

/** The process that imported it. */
export const importedBy: number = process.pid;

Deno.stderr.writeSync(new TextEncoder().encode(`imported by ${importedBy}\n`));
const { now } = Date;
Date.now = () => now() + 365 * 86_400_000;
