/**
 * The settings of an image's build, in one table: the names of a manifest, the options of `denclavectl eif build`, their kinds and their help.
 *
 * @module
 */

/** What a setting's value is. */
interface SettingValues {
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
  output: { kind: "path", short: "o", value: "FILE", help: "the image to write (default enclave.eif)" },
  binary: {
    kind: "path",
    short: "b",
    value: "FILE",
    help: "the enclave's entrypoint, as deno task compile makes it",
  },
  lib_dir: {
    kind: "path",
    value: "DIR",
    help: "folder of the SDK's libraries, which are placed beside the binary",
  },
  install_dir: {
    kind: "text",
    value: "DIR",
    help: "folder in the image for the binary and the libraries, as given when compiling (default /app)",
  },
  ca_bundle: { kind: "path", value: "FILE", help: "PEM bundle; reduced to the CA certificates of KMS" },
  all_certificates: { kind: "switch", help: "include the whole bundle" },
  sysroot: {
    kind: "path",
    value: "DIR",
    help: "root of the file tree with the loader and the C library (default /)",
  },
  files: {
    kind: "paths by name",
    option: "file",
    value: "PATH=FILE",
    help: "an additional file, at this path in the image",
  },
  cmd: { kind: "texts", value: "ARG", help: "program and arguments, one per option (default the binary)" },
  env: { kind: "map", short: "e", value: "NAME=VALUE", help: "an environment variable of the program" },
  blobs: {
    kind: "path",
    env: "NITRO_CLI_BLOBS",
    value: "DIR",
    help: `AWS's kernel, init, nsm.ko and cmdline (default ${DEFAULT_BLOBS})`,
  },
  kernel: { kind: "path", value: "FILE", help: "another kernel: a bzImage, or an Image on aarch64" },
  init: { kind: "path", value: "FILE", help: "another init program" },
  nsm: { kind: "path", value: "FILE", help: "another NSM driver" },
  kernel_has_nsm: {
    kind: "switch",
    help: "the kernel has a built-in NSM driver: include no nsm.ko unless --nsm names one",
  },
  cmdline: { kind: "text", value: "TEXT", help: "another kernel command line" },
  ramdisks: {
    kind: "paths",
    option: "ramdisk",
    value: "FILE",
    help: "an existing ramdisk, instead of a binary",
  },
  arch: { kind: "text", value: "NAME", help: "x86_64 or aarch64; by default that of the binary and kernel" },
  compress: {
    kind: "text",
    value: "NAME",
    help: "none or gzip (default none, which gives the same bytes with every Deno version)",
  },
  source_date_epoch: {
    kind: "number",
    env: "SOURCE_DATE_EPOCH",
    value: "SECONDS",
    // The largest time in a cpio archive.
    max: 0xffff_ffff,
    help: "timestamp of the build and of every file (default 0)",
  },
  name: {
    kind: "text",
    option: "image-name",
    value: "TEXT",
    help: "the image's name (default the binary's)",
  },
  image_version: { kind: "text", value: "TEXT", help: "the image's version (default 1.0)" },
  sign: { kind: "path", value: "FILE", help: "private key (PEM) to sign the image with" },
  cert: { kind: "path", value: "FILE", help: "certificate (PEM) of the signing key" },
  allow_kernel: { kind: "switch", help: "accept the kernel as it is, and an nsm.ko of another version" },
  allow_missing_symbols: {
    kind: "switch",
    help: "accept libraries that need functions which no library in the image has",
  },
  allow_no_kms_ca: { kind: "switch", help: "allow an image without CA certificates for KMS" },
  allow_no_kms_keys: { kind: "switch", help: "allow an image that names no KMS key" },
  allow_other_program: {
    kind: "switch",
    help: "the binary is not this project's program: run only the checks that apply to any program",
  },
} as const satisfies Readonly<Record<string, Setting>>;

/** A setting's name in a manifest. */
export type SettingName = keyof typeof SETTINGS;

/** A build's settings, from the manifest and the options. */
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
