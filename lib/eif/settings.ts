/**
 * The settings of an image's build, in one table: the names of a manifest, the options of `denclavectl eif build`, their kinds and their help.
 *
 * @module
 */

/** What a setting's value is. */
export interface SettingValues {
  readonly text: string;
  /** In a manifest: relative to it. */
  readonly path: string;
  readonly paths: readonly string[];
  readonly texts: readonly string[];
  readonly map: Readonly<Record<string, string>>;
  /** Path in the image to path of the file. */
  readonly "paths by name": Readonly<Record<string, string>>;
  readonly switch: boolean;
  readonly number: number;
}

/** A setting. */
export interface Setting {
  readonly kind: keyof SettingValues;
  /** The option's name, where it is not the setting's with dashes: options that may be given again are singular. */
  readonly option?: string;
  readonly short?: string;
  /** Environment variable of the option. */
  readonly env?: string;
  /** Placeholder for the help; none for a switch. */
  readonly value?: string;
  /** The largest number. */
  readonly max?: number;
  readonly help: string;
}

/** Where nitro-cli's packages put AWS's kernel, init, driver and command line. */
export const DEFAULT_BLOBS = "/usr/share/nitro_enclaves/blobs";

/** All settings, in the order of the help. */
export const SETTINGS = {
  output: { kind: "path", short: "o", value: "FILE", help: "the image (default enclave.eif)" },
  binary: {
    kind: "path",
    short: "b",
    value: "FILE",
    help: "the enclave's entrypoint, as deno task compile makes it",
  },
  lib_dir: { kind: "path", value: "DIR", help: "folder of the SDK's libraries, to lie beside it" },
  install_dir: {
    kind: "text",
    value: "DIR",
    help: "folder of both in the image, as it was compiled (default /app)",
  },
  ca_bundle: { kind: "path", value: "FILE", help: "PEM: cut down to the CA certificates of KMS" },
  all_certificates: { kind: "switch", help: "take the bundle as it is" },
  sysroot: { kind: "path", value: "DIR", help: "where loader and C library come from (default /)" },
  files: {
    kind: "paths by name",
    option: "file",
    value: "PATH=FILE",
    help: "one more file, at this path in the image",
  },
  cmd: { kind: "texts", value: "ARG", help: "program and arguments, one each time (default the binary)" },
  env: { kind: "map", short: "e", value: "NAME=VALUE", help: "a variable of its environment" },
  blobs: {
    kind: "path",
    env: "NITRO_CLI_BLOBS",
    value: "DIR",
    help: `AWS's kernel, init, nsm.ko and cmdline (default ${DEFAULT_BLOBS})`,
  },
  kernel: { kind: "path", value: "FILE", help: "another kernel: a bzImage, or an Image on aarch64" },
  init: { kind: "path", value: "FILE", help: "another first program" },
  nsm: { kind: "path", value: "FILE", help: "another driver of the NSM" },
  kernel_has_nsm: {
    kind: "switch",
    help: "the kernel has the NSM's driver built in: no nsm.ko, unless --nsm names one",
  },
  cmdline: { kind: "text", value: "TEXT", help: "another command line of the kernel" },
  ramdisks: {
    kind: "paths",
    option: "ramdisk",
    value: "FILE",
    help: "a ramdisk that is there, in place of a binary",
  },
  arch: { kind: "text", value: "NAME", help: "x86_64 or aarch64; by default as binary and kernel say" },
  compress: {
    kind: "text",
    value: "NAME",
    help: "none or gzip (default none: the same bytes whatever the Deno)",
  },
  source_date_epoch: {
    kind: "number",
    env: "SOURCE_DATE_EPOCH",
    value: "SECONDS",
    // As a cpio archive can say it.
    max: 0xffff_ffff,
    help: "time of the build and of every file (default 0)",
  },
  name: { kind: "text", value: "TEXT", help: "the image's name (default the binary's)" },
  image_version: { kind: "text", value: "TEXT", help: "and version (default 1.0)" },
  sign: { kind: "path", value: "FILE", help: "private key (PEM) to sign by" },
  cert: { kind: "path", value: "FILE", help: "its certificate (PEM)" },
  allow_kernel: { kind: "switch", help: "take a kernel that looks like none" },
  allow_missing_symbols: {
    kind: "switch",
    help: "take libraries that need functions which no library of the image has",
  },
  allow_no_kms_ca: { kind: "switch", help: "take no CA certificates, or none of KMS" },
  allow_no_kms_keys: { kind: "switch", help: "allow an image that names no KMS key" },
  allow_other_program: {
    kind: "switch",
    help: "the binary is another program than this project's: check only what every program needs",
  },
} as const satisfies Readonly<Record<string, Setting>>;

/** A setting's name in a manifest. */
export type SettingName = keyof typeof SETTINGS;

/** What a build is told, by manifest or options. */
export type BuildSettings = {
  readonly [name in SettingName]?: SettingValues[(typeof SETTINGS)[name]["kind"]];
};

/** All settings with their names. */
export function settingEntries(): readonly (readonly [SettingName, Setting])[] {
  return Object.entries(SETTINGS) as unknown as readonly (readonly [SettingName, Setting])[];
}

/** The name of a setting's option, without dashes before it. */
export function optionName(name: SettingName): string {
  const { option }: Setting = SETTINGS[name];
  return option ?? name.replaceAll("_", "-");
}
