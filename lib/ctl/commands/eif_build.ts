/**
 * `denclavectl eif build`: an image from a program and AWS's blobs, or from existing ramdisks.
 *
 * @module
 */
import type { Options, OptionSpec } from "../../shared/cli/options.ts";
import { buildEif, type BuildPlan, hashFile, programRecord, provenanceOf, sourceState } from "../eif/mod.ts";
import {
  type BuildSettings,
  optionName,
  type Setting,
  settingEntries,
  type SettingName,
} from "../eif/settings.ts";
import { checkPlan, planOf } from "../image/plan.ts";
import { formatFields } from "../terminal/columns.ts";
import { type Command, printResult } from "../terminal/command.ts";
import { pairs } from "../terminal/io.ts";
import { JSON_OPTION } from "../terminal/options.ts";
import { type CtlIo, oneLine } from "../terminal/printing.ts";
import { megabytes } from "../terminal/progress.ts";

/** Settings as options. @param names all, unless given */
export function settingOptions(names?: readonly SettingName[]): readonly OptionSpec[] {
  return settingEntries().filter(([name]) => names?.includes(name) ?? true)
    .map(([name, { kind, short, env, value, help }]) => ({
      name: optionName(name),
      ...(short === undefined ? {} : { short }),
      ...(env === undefined ? {} : { env }),
      ...(value === undefined ? {} : { value }),
      multiple: ["paths", "texts", "map", "paths by name"].includes(kind),
      help,
    }));
}

/** `eif build` */
export const EIF_BUILD: Command = {
  path: "eif build",
  summary: "build an image without Docker, reproducibly",
  usage: [
    "--binary FILE --lib-dir DIR --ca-bundle FILE [options]",
    "--manifest enclave.yaml [options]",
    "--kernel FILE --cmdline TEXT --ramdisk FILE... [options]",
  ],
  about:
    `Makes an image without Docker, and beside it <name>.provenance.json: what it is made of. The same inputs give the
same bytes, but for a signature. An argument that begins with a dash is given as --cmd=--port.

An image that would not work is refused: libraries, kernel, boot files, CA certificates and the service's configuration
are checked before. The --allow options are for the odd case.`,
  options: [
    { name: "manifest", value: "FILE", help: "enclave.yaml with the settings; options override it" },
    ...settingOptions(),
    JSON_OPTION,
  ],
  run: build,
};

/** What an option gives as its setting; undefined when it was not given. */
function settingOf(options: Options, option: string, { kind, value, max = 0 }: Setting): unknown {
  const given = options.each(option);
  if (given.length === 0) return undefined;
  switch (kind) {
    case "text":
    case "path":
      return options.text(option);
    case "paths":
    case "texts":
      return given;
    case "map":
    case "paths by name":
      return pairs(given, option, value ?? "NAME=VALUE");
    case "switch":
      return options.on(option) ? true : undefined;
    case "number":
      return options.number(option, { min: 0, max });
    default:
      return kind satisfies never;
  }
}

/** The settings that options give. Others are absent, so that they do not override the manifest's. */
export function settingsOf(options: Options): BuildSettings {
  return Object.fromEntries(
    settingEntries()
      .map(([name, setting]) => [name, settingOf(options, optionName(name), setting)])
      .filter(([, value]) => value !== undefined),
  );
}

/** Makes an image, and its provenance. */
async function build(options: Options, io: CtlIo): Promise<number> {
  const manifest = options.text("manifest");
  const fromManifest = manifest === undefined
    ? {}
    : await (await import("../eif/manifest.ts")).readManifest(manifest);
  const fromOptions = settingsOf(options);
  const settings = {
    ...fromManifest,
    ...fromOptions,
    ...(fromManifest.env === undefined ? {} : { env: { ...fromManifest.env, ...fromOptions.env } }),
  };
  const plan = await planOf(settings);
  const unchecked = await checkPlan(plan, settings);
  if (unchecked !== undefined) io.stderr(`warning: ${oneLine(unchecked)}\n`);
  const built = await buildWithProgress(plan, io);
  const binary = "program" in plan.content ? plan.content.program.binary : undefined;
  const program = binary === undefined ? undefined : await programRecord(binary, await hashFile(binary));
  const provenance = provenanceOf(built, {
    file: plan.output.replace(/^.*\//, ""),
    sha256: await hashFile(plan.output),
    time: plan.time,
    compression: "program" in plan.content ? plan.content.program.compression : undefined,
    commandLine: plan.commandLine,
    program,
    // The state when the program was compiled, where that is known.
    source: program ?? await sourceState(Deno.cwd()),
  });
  const beside = `${plan.output.replace(/\.eif$/, "")}.provenance.json`;
  await Deno.writeTextFile(beside, `${JSON.stringify(provenance, null, 2)}\n`);
  return printResult(options, io, {
    json: provenance,
    text: formatFields({
      image: plan.output,
      bytes: built.size,
      architecture: built.architecture,
      files: built.inputs.length,
      ...built.measurements,
      provenance: beside,
    }),
  });
}

async function buildWithProgress(plan: BuildPlan, io: CtlIo) {
  const progress: { line?: ReturnType<typeof megabytes> } = {};
  try {
    return await buildEif(plan, (done, total) => {
      progress.line ??= megabytes("writing", total, io);
      progress.line.at(done);
    });
  } finally {
    progress.line?.[Symbol.dispose]();
  }
}
