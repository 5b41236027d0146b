/**
 * `denclavectl sdk check`.
 *
 * @module
 */
import type { Options } from "../../shared/cli/options.ts";
import { checkFolder, type Report } from "../image/sdk.ts";
import { formatTable } from "../terminal/columns.ts";
import { type Command, onePositional, printResult } from "../terminal/command.ts";
import { JSON_OPTION, SYSROOT_OPTION } from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";

/** `sdk check` */
export const SDK_CHECK: Command = {
  path: "sdk check",
  summary: "check a folder of the SDK's libraries: versions, what they need, whether an image can use them",
  usage: "<folder> [options]",
  about:
    "Whether the folder's libaws-c-common.so, libaws-nitro-enclaves-sdk-c.so and libnsm.so can be used in an image, and what they are.",
  options: [SYSROOT_OPTION, JSON_OPTION],
  positionals: 1,
  run: check,
};

function show({ libraries, awsLc, aead, warnings, problems, ok }: Report): string {
  const nameOf = (file: string) => file.replace(/^.*\//, "");
  const rows = libraries.map((
    { file, version, soname, architecture, glibc, compiler },
  ) => [nameOf(file), version ?? "?", soname ?? "none", architecture, glibc ?? "none", compiler ?? "?"]);
  const needs = libraries.flatMap(({ file, needs }) =>
    Object.entries(needs).map(([name, from]) => [nameOf(file), name, from])
  );
  const libc = `AWS-LC: ${oneLine(awsLc ?? "version not found")}`;
  return [
    formatTable(["LIBRARY", "VERSION", "SONAME", "MACHINE", "GLIBC", "COMPILER"], rows),
    "",
    formatTable(["FILE", "NEEDS", "FOUND"], needs),
    "",
    `${libc}; AES-256-GCM exported: ${aead ? "yes" : "no"}`,
    ...warnings.map((text) => `warn  ${oneLine(text)}`),
    ...problems.flatMap(({ message, hint = "" }) => [`FAIL  ${oneLine(message)}`, `      ${oneLine(hint)}`]),
    ...ok ? ["ok    these libraries can be used"] : [],
  ].join("\n");
}

async function check(options: Options, io: CtlIo): Promise<number> {
  const hint = "Give the one folder that has libaws-nitro-enclaves-sdk-c.so.";
  const folder = onePositional(options, "Which folder?", hint).replace(/(?<=.)\/+$/, "");
  const report = await checkFolder(folder, options.text("sysroot") ?? "/");
  return printResult(options, io, { json: report, text: show(report), ok: report.ok });
}
