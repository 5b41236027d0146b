/** The KMS emulator serves every operation that this repository's own tools call. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { startKmsEmulator } from "../../../../lib/dev/kms_emulator/server.ts";

const ROOT = new URL("../../../../", import.meta.url);

async function text(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, ROOT));
}

/** The commands of one AWS SDK client that `lib/ctl/aws/deps/aws_sdk.ts` takes. */
function commandsOf(source: string, client: string): readonly string[] {
  const [, names = ""] = new RegExp(`export \\{([^}]*)\\} from "npm:@aws-sdk/${client}@`).exec(source) ?? [];
  return [...names.matchAll(/(\w+)Command\b/g)].map(([, name = ""]) => name);
}

/** What the emulator answers to an operation without parameters: the status, and the name of the refusal. */
async function refusalOf(url: string, operation: string): Promise<string> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": `TrentService.${operation}` },
    body: "{}",
  });
  const { __type = "" } = await response.json() as { readonly __type?: string };
  return __type;
}

Deno.test("the emulator knows every KMS operation that the tools and backends call", async () => {
  const called = [
    ...commandsOf(await text("lib/ctl/aws/deps/aws_sdk.ts"), "client-kms"),
    ...[
      ...(/type KmsOperation = ([^;]*);/.exec(await text("lib/dev/kms/json_kms.ts"))?.[1] ?? "").matchAll(
        /"(\w+)"/g,
      ),
    ]
      .map(([, name = ""]) => name),
  ];
  for (const known of ["CreateKey", "Encrypt", "ListGrants", "PutKeyPolicy", "GenerateDataKey"]) {
    assert(called.includes(known), `the list of operations lacks ${known}: ${called.join()}`);
  }
  await using emulator = await startKmsEmulator();
  assertEquals(await refusalOf(emulator.url, "ReEncrypt"), "UnknownOperationException");
  for (const operation of called) {
    assert(await refusalOf(emulator.url, operation) !== "UnknownOperationException", operation);
  }
});

Deno.test("the emulator knows every STS operation that the tools call", async () => {
  assertEquals(commandsOf(await text("lib/ctl/aws/deps/aws_sdk.ts"), "client-sts"), ["GetCallerIdentity"]);
  await using emulator = await startKmsEmulator({ caller: "arn:aws:iam::111122223333:role/team/Admin" });
  const ask = async (action: string) => {
    const response = await fetch(emulator.url, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded; charset=utf-8" },
      body: `Action=${action}&Version=2011-06-15`,
    });
    return { status: response.status, body: await response.text() };
  };
  const { status, body } = await ask("GetCallerIdentity");
  assertEquals(status, 200);
  assertMatch(body, /<Arn>arn:aws:sts::111122223333:assumed-role\/Admin\/emulator<\/Arn>/);
  assertMatch(body, /<Account>111122223333<\/Account>/);
  const refused = await ask("AssumeRole");
  assertEquals(refused.status, 400);
  assertMatch(refused.body, /<Code>InvalidAction<\/Code>/);
});
