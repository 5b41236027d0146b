/** Names that programs and operators depend on, sorted: a lost or renamed one fails here, as does one that nobody wrote down. */
import { assertEquals } from "@std/assert";
import { ERROR_CODES, REQUESTS, startGold, WALLET_REQUESTS } from "./product.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

async function sources(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}${path}`)) {
    const inner = `${path}/${name}`;
    if (isDirectory) found.push(...await sources(inner));
    else if (name.endsWith(".ts")) found.push(await Deno.readTextFile(`${ROOT}${inner}`));
  }
  return found;
}

const text = [...await sources("lib"), ...await sources("ffi"), await Deno.readTextFile(`${ROOT}main.ts`)]
  .join("\n");
const sorted = (names: Iterable<string>) => [...new Set(names)].sort();
const matches = (pattern: RegExp, among = text) => [...among.matchAll(pattern)].map(([, name = ""]) => name);
const words = ([list = ""]: TemplateStringsArray) => list.trim().split(/\s+/);

const EVENTS = words`
  accept_failed account_generated attestation_failed configuration configure_failed configured
  connection_lost connection_refused draining ended internal_error listening log_suppressed
  main_thread_silent master_key_initialised master_key_kms_failed master_key_rewrapped out_of_memory
  problem rekey_soon request request_failed sdk_blocking_calls sdk_open sdk_process_hung
  sdk_process_lost sdk_process_replaced sdk_process_restart sealed_request_failed signal stopped
  uncaught wallet_kms_failed workflow workflow_threw
`;
const CODES = words`
  abandoned access_keys_file account_exists account_not_found attestation_algorithm attestation_chain
  attestation_debug attestation_expired attestation_malformed attestation_nitrotpm attestation_nonce
  attestation_pcr attestation_public_key attestation_root attestation_signature attestation_stale
  attestation_unavailable attestation_user_data aws_kms aws_kms_refused ber_malformed blob_missing
  build_unknown busy clock_skew cms_malformed cms_open cms_recipient_key connect_failed
  cose_algorithm cose_malformed credentials_expired credentials_refused decrypt_failed disk_full
  eif_input eif_layout eif_magic eif_metadata eif_sections eif_signature eif_too_large eif_truncated
  eif_unreadable eif_version elf_malformed file_unreadable getrandom image_dead
  internal_error invalid_address invalid_argument invalid_config invalid_endpoint invalid_json
  invalid_key_arn invalid_payload key_not_allowed kms_closed kms_decrypt_failed kms_denied
  kms_emulator_options kms_emulator_tls kms_generate_failed kms_not_found kms_refused kms_timeout
  kms_unavailable kms_unreachable libc library_missing library_version listen_failed local_kms
  local_kms_file local_kms_refused locks_out master_key_changed master_key_missing
  measurements_invalid moved_binary no_credentials no_reply not_attested not_configured
  nsm_answer nsm_ioctl nsm_open nsm_random nsm_refused origin_unproven policy_changed policy_invalid
  policy_refused policy_too_large program_missing rehearsal_failed rekey_required reproduce_failed
  restore_failed sdk sdk_busy sdk_generic sdk_init sdk_kms_client sdk_kms_config sdk_kms_data_key
  sdk_kms_decrypt sdk_kms_random sdk_library sdk_process sealed_counter sealed_expectation
  sealed_not_opened sealed_refused sealed_reply signature_wrong simulated_kms_refused
  simulated_nsm_refused simulated_root store_denied store_failed store_missing store_row_damaged
  store_table_missing store_unavailable symbol_missing timeout trust_store tsk_exists tsk_file
  unexpected_reply unknown usage watchdog
`;
const REPLY_CODES = words`
  already_configured attestation_unavailable binding_required busy client_not_allowed clock_skew
  credentials_expired decrypt_failed entropy_not_trusted guard_refused internal_error invalid_json
  invalid_payload key_not_allowed kms_decrypt_failed kms_generate_failed master_key_conflict
  message_too_large missing_fields not_configured rekey_required row_rejected sealed_key_unknown
  sealed_replayed sealed_required timeout unknown_type workflow_failed
`;
const REQUEST_NAMES = words`
  attest configure generateAccount health logs master_key.init master_key.public_info
  master_key.rewrap master_key.sign master_key.verify metrics ping process sealed sign
`;
const HEALTH = words`
  accepted aead configured connections kms log_lines_dropped master_key memory_budget
  memory_in_flight memory_total permissions random refused self_test status uptime_s version wallet
  warnings
`;
const METRICS =
  words`accepted connections memory_budget memory_in_flight memory_total refused requests status`;
const REQUEST_METRICS = words`error max_ms mean_ms ok p50_ms p99_ms`;

/** The strings that an expression may give as a code, not those that it compares with or looks up. */
const literals = (expression: string) => matches(/(?<!=== |\[)"([a-z_]+)"(?! in )/g, expression);

Deno.test("gold: names of log events", () => {
  const events = [
    ...matches(/\blog\(\s*(?:"\w+"|\w+\(\w+\)),\s*"([a-z_]+)"/g),
    ...matches(/\bevent: "([a-z_]+)"/g),
    ...matches(/\bend\("([a-z_]+)"/g),
  ];
  assertEquals(sorted(events), EVENTS);
});

Deno.test("gold: codes of errors", () => {
  const codes = [
    ...matches(/\bcode(?::| =)([^,;}\n]*)/g),
    ...matches(/\btype \w*Code =([^;]*);/g, text.replace(/\/\/.*/g, "")),
  ].flatMap(literals);
  assertEquals(sorted(codes), CODES);
});

Deno.test("gold: codes of error replies", () => assertEquals(sorted(Object.keys(ERROR_CODES)), REPLY_CODES));

Deno.test("gold: names of requests", () => {
  assertEquals(sorted([...Object.keys(REQUESTS), ...Object.keys(WALLET_REQUESTS)]), REQUEST_NAMES);
});

Deno.test("gold: names of metrics and of the fields of health", async () => {
  await using service = await startGold({});
  const health = await service.ask({ type: "health" });
  const metrics = await service.ask({ type: "metrics" });
  const { requests } = metrics as { requests: Record<string, object> };
  assertEquals(sorted(Object.keys(health)), HEALTH);
  assertEquals(sorted(Object.keys(metrics)), METRICS);
  assertEquals(Object.keys(requests), ["health"]);
  assertEquals(sorted(Object.keys(requests["health"] ?? {})), REQUEST_METRICS);
});
