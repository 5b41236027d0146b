/**
 * Clients of AWS's services for the parent's side, all with the same deadlines and the same source of credentials. They need the AWS SDK for
 * JavaScript, which no file of the enclave may import.
 *
 * @module
 */
import type { CredentialSource } from "./credential_source.ts";
import { DynamoDBClient, KMSClient, STSClient } from "./deps/aws_sdk.ts";

/** Where a client connects, and with which credentials. */
export interface AwsClientOptions {
  readonly region: string;
  readonly credentials: CredentialSource;
  /** Another endpoint than AWS's, for development. */
  readonly endpoint?: string | undefined;
  /** Milliseconds for one request; 10 s unless given. */
  readonly requestMs?: number | undefined;
}

const CONNECT_MS = 3_000;
const REQUEST_MS = 10_000;
/** Attempts in all, including the SDK's own retries. */
const ATTEMPTS = 3;

function settingsOf({ region, credentials, endpoint, requestMs = REQUEST_MS }: AwsClientOptions) {
  return {
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    credentials: () => credentials.get(),
    maxAttempts: ATTEMPTS,
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: requestMs,
      throwOnRequestTimeout: true,
    },
  };
}

/** A client of KMS. Nothing is sent yet; `destroy` closes its connections. */
export function kmsClient(options: AwsClientOptions): KMSClient {
  return new KMSClient(settingsOf(options));
}

/** A client of STS, as {@link kmsClient}. */
export function stsClient(options: AwsClientOptions): STSClient {
  return new STSClient(settingsOf(options));
}

/** A client of DynamoDB, as {@link kmsClient}. */
export function dynamoDbClient(options: AwsClientOptions): DynamoDBClient {
  return new DynamoDBClient(settingsOf(options));
}
