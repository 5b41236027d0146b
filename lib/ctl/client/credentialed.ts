/**
 * Requests that carry the parent's credentials: sent once more with fresh ones, when the enclave says that KMS called them expired.
 *
 * @module
 */
import type { WireObject } from "../../shared/wire/messages.ts";
import type { ReplyOf, RequestOf, RequestType } from "../../shared/wire/protocol.ts";
import { orThrow, type Requester } from "./client.ts";
import type { CredentialSource } from "../aws/credential_source.ts";

type ParentCredentials = Awaited<ReturnType<CredentialSource["get"]>>;

function onTheWire({ accessKeyId, secretAccessKey, sessionToken }: ParentCredentials): WireObject {
  return {
    aws_access_key_id: accessKeyId,
    aws_secret_access_key: secretAccessKey,
    aws_session_token: sessionToken ?? "",
  };
}

/** `configure` has one code for all refusals of KMS, whose name for this one is in the details. */
const EXPIRED = /\bExpiredToken/;

function areExpired({ msg, details }: WireObject): boolean {
  return msg === "credentials_expired" || (msg === "kms_decrypt_failed" && EXPIRED.test(String(details)));
}

/**
 * Sends a request with credentials, and gives the reply, whatever its status.
 *
 * @throws {EnclaveError} `no_credentials` or `no_reply`
 */
export async function exchangeWithCredentials(
  client: Requester,
  credentials: CredentialSource,
  request: WireObject,
): Promise<WireObject> {
  const first = await client.exchange({ ...request, credential: onTheWire(await credentials.get()) });
  if (!areExpired(first)) return first;
  return await client.exchange({ ...request, credential: onTheWire(await credentials.refresh()) });
}

/**
 * As {@link exchangeWithCredentials}, but an error reply is thrown: for `configure` and `master_key`.
 *
 * @throws {ServiceError} with the service's code
 * @throws {EnclaveError} `no_credentials` or `no_reply`
 */
export async function requestWithCredentials<T extends RequestType>(
  client: Requester,
  credentials: CredentialSource,
  request: RequestOf<T>,
): Promise<ReplyOf<T>> {
  return orThrow(await exchangeWithCredentials(client, credentials, { ...request })) as ReplyOf<T>;
}
