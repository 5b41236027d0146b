/**
 * Sets up moto's KMS: keys, aliases, users. The requests have a placeholder signature, since moto reads only
 * their service and region.
 *
 * @module
 */

async function post(url: string, service: string, headers: HeadersInit, body: string): Promise<string> {
  const response = await fetch(url, {
    method: "POST",
    headers: {
      ...headers,
      authorization: `AWS4-HMAC-SHA256 Credential=AKIDADMIN/20260101/us-east-1/${service}/aws4_request, ` +
        "SignedHeaders=host, Signature=none",
    },
    body,
    signal: AbortSignal.timeout(10_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`moto answered ${response.status} to ${body}: ${text}`);
  return text;
}

/** An operation of KMS. */
export function askMotoKms(
  url: string,
  operation: string,
  fields: Readonly<Record<string, unknown>>,
): Promise<string> {
  const headers = {
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": `TrentService.${operation}`,
  };
  return post(url, "kms", headers, JSON.stringify(fields));
}

/** Makes a symmetric key. @returns its ARN */
export async function createMotoKey(url: string, alias?: string): Promise<string> {
  const { KeyMetadata } = JSON.parse(await askMotoKms(url, "CreateKey", { Description: "for tests" }));
  if (alias !== undefined) {
    await askMotoKms(url, "CreateAlias", { AliasName: alias, TargetKeyId: KeyMetadata.KeyId });
  }
  return KeyMetadata.Arn;
}

/** Long-lived credentials of a user. */
export interface MotoUser {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
}

async function createUser(url: string, name: string, action: string | undefined): Promise<MotoUser> {
  const ask = (fields: Readonly<Record<string, string>>) =>
    post(
      url,
      "iam",
      { "content-type": "application/x-www-form-urlencoded" },
      new URLSearchParams({ Version: "2010-05-08", UserName: name, ...fields }).toString(),
    );
  await ask({ Action: "CreateUser" });
  if (action !== undefined) {
    const Statement = [{ Effect: "Allow", Action: action, Resource: "*" }];
    const PolicyDocument = JSON.stringify({ Version: "2012-10-17", Statement });
    await ask({ Action: "PutUserPolicy", PolicyName: "allow", PolicyDocument });
  }
  const answer = await ask({ Action: "CreateAccessKey" });
  const field = (tag: string) => new RegExp(`<${tag}>([^<]+)</${tag}>`).exec(answer)?.[1] ?? "";
  return { accessKeyId: field("AccessKeyId"), secretAccessKey: field("SecretAccessKey"), sessionToken: "" };
}

/**
 * From now on moto checks signatures (by botocore) and what their makers may do.
 *
 * @param action what the first user may do, such as `kms:Decrypt`; the other may do nothing
 */
export async function requireSignatures(
  url: string,
  action: string,
): Promise<{ readonly allowed: MotoUser; readonly other: MotoUser }> {
  const allowed = await createUser(url, "allowed", action);
  const other = await createUser(url, "other", undefined);
  await post(`${url}/moto-api/reset-auth`, "moto", {}, "0");
  return { allowed, other };
}
