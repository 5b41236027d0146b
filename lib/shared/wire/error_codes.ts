/**
 * The codes of error replies, with what each means and what a client does about it. The table of docs/protocol.md and the JSON Schema are generated from
 * this table (`deno task docs`).
 *
 * Runs in browsers.
 *
 * @module
 */

/** A code's meaning, and what a client should do. */
interface CodeWords {
  readonly means: string;
  readonly remedy: string;
}

/** All codes. Stable: codes may be added, but none changes its meaning. */
export const ERROR_CODES = {
  invalid_json: {
    means: "The message is not a JSON object in UTF-8, or is nested too deep.",
    remedy: "Correct the message. After a broken `raw` message the connection ends.",
  },
  unknown_type: {
    means: "No such `type` or `apiRequest`.",
    remedy: "`details` lists the known names.",
  },
  feature_off: {
    means: "The image does not serve this feature (`--features`).",
    remedy: "Build an image that names it, or ask another enclave.",
  },
  missing_fields: {
    means: "A field is missing, or has a wrong type, length or format.",
    remedy: "`details` names the field.",
  },
  not_configured: {
    means: "The service holds no session key, or no master key.",
    remedy: "Send `configure` or `master_key.init` first.",
  },
  already_configured: {
    means: "The service takes a session key once (`--configure-once`), or the epoch does not grow.",
    remedy: "Use the current key, or send a larger `epoch`.",
  },
  key_not_allowed: {
    means: "The KMS key or the region is not in the measured configuration.",
    remedy: "Name a key that is listed there.",
  },
  kms_decrypt_failed: {
    means: "KMS did not open a wrapped key.",
    remedy:
      "`details` has the name of KMS's error: check the key policy, the credentials and the wrapped key.",
  },
  kms_generate_failed: {
    means: "KMS gave no data key.",
    remedy: "`details` has the name of KMS's error: check the key policy and the credentials.",
  },
  credentials_expired: {
    means: "KMS says that the credentials of the request have expired.",
    remedy: "Fetch new credentials and send the request once more.",
  },
  clock_skew: {
    means:
      "The enclave's clock and another one differ too much: KMS's, or that of the client which sealed the request.",
    remedy: "`details` says by how much: correct the clock, and seal anew.",
  },
  decrypt_failed: {
    means: "A blob or a sealed request does not open: another key, other additional data, or changed bytes.",
    remedy: "Check the key and the additional data.",
  },
  rekey_required: {
    means: "The session key has made as many seals as are safe (2^32).",
    remedy: "Send `configure` with a new one.",
  },
  invalid_payload: {
    means: "The payload to sign is not valid.",
    remedy: "`details` names the field.",
  },
  guard_refused: {
    means: "A rule of the measured configuration forbids signing this.",
    remedy: "`details` names the rule.",
  },
  row_rejected: {
    means: "A stored row does not open, is of an earlier epoch, or its fields do not match.",
    remedy: "`details` names the fields to look at. Do not make a new key in its place.",
  },
  master_key_conflict: {
    means: "The enclave holds another master key, or another epoch of it.",
    remedy: "Ask with `master_key.public_info`, then decide.",
  },
  entropy_not_trusted: {
    means:
      "The kernel's random numbers are not known to be seeded from the NSM, or the NSM gave none: no key is made.",
    remedy: "Restart the enclave, and look at `health`.",
  },
  attestation_unavailable: {
    means: "There is no NSM, or it gave no document.",
    remedy: "Send the request to an enclave. If it is one, look at `logs`.",
  },
  binding_required: {
    means: "The service accepts only bound `process` requests (`--bind-process`).",
    remedy: "Send `bind` and `request_id`, and the additional data with the blob.",
  },
  sealed_required: {
    means:
      "The service accepts only sealed requests (`--require-sealed`), except `ping`, `health` and `attest`.",
    remedy: "Seal the request.",
  },
  sealed_key_unknown: {
    means: "The request is sealed for a key that the enclave does not have, or no longer has.",
    remedy: "Attest anew, and seal for the key of that document.",
  },
  sealed_replayed: {
    means:
      "The counter does not grow, the client key has begun a newer session, or a `configure` that was sealed later has taken effect.",
    remedy: "Never send a sealed request again: seal a new one, with a new client id.",
  },
  receipt_key_unknown: {
    means: "The enclave never had this receipt key, or has replaced it more than 24 hours ago.",
    remedy: "Fetch a key's document before you rely on its receipts.",
  },
  client_not_allowed: {
    means: "The service serves only known clients, and this is not one of them.",
    remedy: "Seal with a client key that the measured configuration lists.",
  },
  message_too_large: {
    means: "The message is larger than the service accepts (10 MiB by default).",
    remedy: "`details` has the limit.",
  },
  busy: {
    means: "The service has reached its limit of connections, batches or waiting calls.",
    remedy: "Try again later.",
  },
  timeout: {
    means:
      "The rest of the message did not arrive in time, or the request took too long. The connection ends.",
    remedy: "Connect again. The request may have been carried out.",
  },
  workflow_failed: {
    means: "The workflow refused the data, with its own code.",
    remedy: "`code` and `details` come from the workflow.",
  },
  workflow_timeout: {
    means: "The workflow worked on the request for longer than `--workflow-ms`. Its process was ended.",
    remedy: "Send less at a time, or raise `--workflow-ms` (it is measured).",
  },
  workflow_lost: {
    means:
      "The process of the workflow ended while it worked on the request, or no such process can be started.",
    remedy: "The request can be repeated; the workflow may have begun to work on it. `logs` has the reason.",
  },
  internal_error: {
    means: "A defect, a workflow that threw, or a service that is ending.",
    remedy: "Look at `logs`.",
  },
} as const satisfies Readonly<Record<string, CodeWords>>;

/** Codes of error replies: stable, for programs. */
export type ErrorCode = keyof typeof ERROR_CODES;
