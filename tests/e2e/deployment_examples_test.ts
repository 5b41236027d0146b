/** examples/kubernetes and examples/terraform, by others' schemas and parsers; their files fit each other. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { parse } from "../../lib/ctl/config/deps/yaml.ts";
import { COMMANDS } from "../../lib/ctl/commands/main.ts";
import { formatPolicyIntent } from "../../lib/ctl/config/policy_intent.ts";
import { iamPolicy } from "../../lib/ctl/policy/iam.ts";
import { parseKeyArn } from "../../lib/shared/aws/key_arn.ts";
import { field, isObject } from "../../lib/shared/json.ts";
import { runCtl } from "../helpers/ctl_process.ts";
import { buildStages, filesOf, readDockerfile } from "../helpers/dockerfile.ts";
import { Folder } from "../helpers/folder.ts";
import { hasMoto, peerProgram, startMoto } from "../helpers/peers.ts";
import { runTool } from "../helpers/tools.ts";

const EXAMPLES = new URL("../../examples/", import.meta.url).pathname;
const MANIFEST = `${EXAMPLES}kubernetes/denclave.k8s.yaml`;
const DOCKERFILE = "examples/kubernetes/Dockerfile";
const read = (path: string) => Deno.readTextFile(EXAMPLES + path);

/** A value deep in parsed YAML or JSON; numbers are places in lists. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce(
    (inner: unknown, name) => typeof name === "number" ? (inner as unknown[])[name] : field(inner, name),
    value,
  );
}

const kubernetesValidate = peerProgram("kubernetes-validate", "the check of Kubernetes objects");
const hcl2tojson = peerProgram("hcl2tojson", "the check of the Terraform files");

/** The oldest and the newest version that the example is for. */
for (const version of ["1.30", "1.37"]) {
  Deno.test({
    name: `the Kubernetes objects fit the schemas of ${version}, and an unknown field is found`,
    ignore: kubernetesValidate === undefined,
    fn: async () => {
      const check = (file: string) =>
        runTool(kubernetesValidate ?? "", ["--strict", "--quiet", "-k", version, file]);
      const { code, stdout, stderr } = await check(MANIFEST);
      assertEquals([code, stdout], [0, ""], stderr);
      const text = await Deno.readTextFile(MANIFEST);
      await using folder = await Folder.make({ "typo.yaml": text.replace("livenessProbe", "livenesProbe") });
      assertNotEquals((await check(`${folder.path}/typo.yaml`)).code, 0);
    },
  });
}

/** The objects by kind. */
async function objects(): Promise<ReadonlyMap<unknown, unknown>> {
  const documents = (await Deno.readTextFile(MANIFEST)).split(/^---$/m).map((text) => parse(text) as unknown);
  return new Map(documents.map((document) => [field(document, "kind"), document]));
}

async function pod() {
  const spec = at((await objects()).get("Deployment"), "spec", "template", "spec");
  return { spec, container: at(spec, "containers", 0) };
}

/** Mebibytes, of a quantity in Kubernetes's notation. */
function mebibytes(quantity: unknown): number {
  const [, number = "", unit = ""] = /^(\d+)(Mi|Gi)$/.exec(String(quantity)) ?? [];
  return Number(number) * (unit === "Gi" ? 1024 : 1);
}

Deno.test("the pod asks for the memory that its denclave.yaml needs and the node reserves", async () => {
  const { container } = await pod();
  const { enclaves } = parse(await read("kubernetes/denclave.yaml"));
  const memory = enclaves.reduce((sum: number, enclave: { memory: number }) => sum + enclave.memory, 0);
  const cpus = enclaves.reduce((sum: number, enclave: { cpus: number }) => sum + enclave.cpus, 0);
  for (const kind of ["requests", "limits"]) {
    const resources = at(container, "resources", kind);
    assertEquals(mebibytes(field(resources, "hugepages-1Gi")), memory, kind);
    assertEquals(field(resources, "aws.ec2.nitro/nitro_enclaves"), "1", kind);
  }
  const userData = await read("kubernetes/node-user-data.txt");
  const [, reserved, cpuCount] =
    /memory_mib: (\d+)\/; s\/\^cpu_count:\.\*\/cpu_count: (\d+)\//.exec(userData) ?? [];
  assertEquals([Number(reserved), Number(cpuCount)], [memory, cpus]);
});

Deno.test("probes, port and NetworkPolicy name the metrics address of denclave.yaml", async () => {
  const { container } = await pod();
  const config = parse(await read("kubernetes/denclave.yaml"));
  const [, port] = /^0\.0\.0\.0:(\d+)$/.exec(config.metrics) ?? [];
  assertEquals(at(container, "ports", 0), { name: "metrics", containerPort: Number(port) });
  const policy = (await objects()).get("NetworkPolicy");
  assertEquals(at(policy, "spec", "ingress", 0, "ports", 0, "port"), Number(port));
  const probes = ["startupProbe", "livenessProbe", "readinessProbe"].map((name) =>
    at(container, name, "httpGet")
  );
  // A liveness probe on /healthz would end the enclave, and with it the keys, whenever KMS denies.
  assertEquals(probes, [
    { path: "/livez", port: "metrics" },
    { path: "/livez", port: "metrics" },
    { path: "/healthz", port: "metrics" },
  ]);
});

Deno.test("only one pod runs on a node, on nodes with the device plugin, and it may use vsock", async () => {
  const { spec, container } = await pod();
  const labels = at((await objects()).get("Deployment"), "spec", "template", "metadata", "labels");
  const required = "requiredDuringSchedulingIgnoredDuringExecution";
  assertEquals(at(spec, "affinity", "podAntiAffinity", required, 0), {
    topologyKey: "kubernetes.io/hostname",
    labelSelector: { matchLabels: labels },
  });
  assertEquals(
    at(spec, "affinity", "nodeAffinity", required, "nodeSelectorTerms", 0, "matchExpressions", 0),
    { key: "aws-nitro-enclaves-k8s-dp", operator: "In", values: ["enabled"] },
  );
  assertEquals(at(container, "securityContext", "seccompProfile", "type"), "Unconfined");
  assertEquals(at(container, "securityContext", "capabilities"), { drop: ["ALL"] });
});

if (COMMANDS.some(({ path }) => path === "up")) {
  Deno.test("denclavectl up --check has no objection to the denclave.yaml of the container", async () => {
    const pcrs = Object.fromEntries([0, 1, 2].map((index) => [`PCR${index}`, `${index}a`.repeat(48)]));
    const policy = {
      key: "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
      parents: ["arn:aws:iam::111122223333:role/denclave-parent"],
      administrators: ["arn:aws:iam::111122223333:role/Admin"],
      ...{ issuers: [], inspect: false, builds: ["not-in-the-container.json"] },
    };
    await using folder = await Folder.make({
      "denclave-policy.yaml": formatPolicyIntent(policy),
      "tsk.wrapped": "AQICAHh=\n",
      "enclave.eif": "image",
      "enclave.json": JSON.stringify({ Measurements: { HashAlgorithm: "Sha384 { ... }", ...pcrs } }),
    });
    const text = await read("kubernetes/denclave.yaml");
    await folder.write("denclave.yaml", text.replaceAll("/opt/denclave/", `${folder.path}/`));
    const { code, stdout, stderr } = await runCtl(["up", "--check", `${folder.path}/denclave.yaml`]);
    assertEquals(code, 0, stdout + stderr);
  });
}

/** Makes a key with the credentials that a pod has, and nothing else. @returns its account, which is the caller's */
async function accountOf(env: Readonly<Record<string, string>>): Promise<string | undefined> {
  await using moto = await startMoto();
  const args = ["kms", "create-key", "-r", "us-east-1"];
  const { stdout, stderr } = await runCtl(args, { env: { ...env, AWS_ENDPOINT_URL: moto.url } });
  const [, account] = /^key +arn:aws:kms:us-east-1:(\d+):/.exec(stdout) ?? [undefined, stderr];
  return account;
}

Deno.test({
  name: "denclavectl takes the role of the pod's service account (IRSA)",
  ignore: !hasMoto(),
  fn: async () => {
    await using folder = await Folder.make({ token: "eyJhbGciOiJub25lIn0.e30." });
    const AWS_ROLE_ARN = "arn:aws:iam::444455556666:role/denclave-parent";
    assertEquals(
      await accountOf({ AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE: `${folder.path}/token` }),
      "444455556666",
    );
  },
});

Deno.test({
  name: "denclavectl takes the credentials of EKS Pod Identity",
  ignore: !hasMoto(),
  fn: async () => {
    await using folder = await Folder.make({ token: "of-the-pod" });
    const asked: (string | null)[] = [];
    const credentials = {
      AccessKeyId: "AKIAPOD",
      SecretAccessKey: "s",
      Token: "t",
      Expiration: "2099-01-01T00:00:00Z",
    };
    await using agent = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      asked.push(request.headers.get("authorization"));
      return Response.json(credentials);
    });
    const account = await accountOf({
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${agent.addr.port}/v1/credentials`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: `${folder.path}/token`,
    });
    assertEquals([account, asked], ["123456789012", ["of-the-pod"]]);
  },
});

Deno.test("a node group as docs/eks.md describes it has what the pod asks of a node", async () => {
  const [, block = ""] = /```yaml\n(managedNodeGroups:[^]*?)```/.exec(await read("../docs/eks.md")) ?? [];
  const group = at(parse(block), "managedNodeGroups", 0);
  assertEquals(field(group, "labels"), { "aws-nitro-enclaves-k8s-dp": "enabled" });
  const { spec } = await pod();
  assertEquals(at(group, "taints", 0, "key"), at(spec, "tolerations", 0, "key"));
  assertEquals(at(group, "taints", 0, "effect"), at(spec, "tolerations", 0, "effect"));
});

Deno.test("the container's image has the program, and what denclave.yaml names", async () => {
  const context = { denclavectl: "program", "enclave.eif": "image", "enclave.json": "measurements" };
  const installed = '#!/bin/sh\necho "$*" >>"${0%/*}/calls"\n';
  await using folder = await Folder.make({
    ...Object.fromEntries(Object.entries(context).map(([name, text]) => [`context/${name}`, text])),
    "bin/dnf": installed,
  });
  await Deno.chmod(`${folder.path}/bin/dnf`, 0o755);
  await buildStages({
    file: DOCKERFILE,
    context: `${folder.path}/context/`,
    folder: folder.path,
    bin: `${folder.path}/bin`,
    args: {},
  });
  const files = await filesOf(`${folder.path}/image`);
  const { enclaves, ...config } = parse(await read("kubernetes/denclave.yaml"));
  const { container } = await pod();
  const { stages: [stage] } = await readDockerfile(DOCKERFILE);
  const instruction = (name: string) => stage?.instructions.find((found) => found.name === name)?.text;
  // Relative paths are in the folder of denclave.yaml, which is the ConfigMap's.
  assertEquals(at(container, "volumeMounts", 0), {
    name: "config",
    mountPath: instruction("WORKDIR"),
    readOnly: true,
  });
  assertEquals([config.policy, enclaves[0].session_key.wrapped], ["denclave-policy.yaml", "tsk.wrapped"]);
  const [program] = JSON.parse(instruction("ENTRYPOINT") ?? "");
  const named = enclaves.flatMap((
    enclave: Record<string, unknown>,
  ) => [enclave["image"], enclave["measurements"]]);
  assertEquals([`/usr/local/bin/${program}`, ...named].filter((path) => !files.includes(path)), []);
  const calls = await Deno.readTextFile(`${folder.path}/bin/calls`);
  assert(/^install .*\baws-nitro-enclaves-cli$/m.test(calls), calls);
});

/** The resources of main.tf, as python-hcl2 reads them. */
async function terraform(): Promise<(type: string, name: string) => unknown> {
  const { code, stdout, stderr } = await runTool(hcl2tojson ?? "", [`${EXAMPLES}terraform/main.tf`]);
  assertEquals(code, 0, stderr);
  const parsed: unknown = JSON.parse(stdout);
  return (type, name) => {
    const found = (at(parsed, "resource") as unknown[]).map((entry) => at(entry, `"${type}"`, `"${name}"`))
      .find(isObject);
    assert(found !== undefined, `${type}.${name}`);
    return found;
  };
}

const ofTerraform = (
  name: string,
  run: (resource: Awaited<ReturnType<typeof terraform>>) => Promise<void> | void,
) => Deno.test({ name, ignore: hcl2tojson === undefined, fn: async () => await run(await terraform()) });

ofTerraform(
  "Terraform gives the parent the rights of denclavectl policy iam, for the key and the table that it makes",
  (resource) => {
    const key = parseKeyArn("arn:aws:kms:us-east-1:111122223333:key/1");
    const table = String(field(resource("aws_dynamodb_table", "accounts"), "name")).replaceAll('"', "");
    const statements = iamPolicy({ keys: [key], table }).Statement;
    const policy = String(field(resource("aws_iam_role_policy", "parent"), "policy"));
    const given = policy.split("{Sid").slice(1).map((text) => ({
      Sid: /^ = "(\w+)"/.exec(text)?.[1],
      Action: [...text.matchAll(/"(\w+:\w+)"/g)].map(([, action]) => action),
    }));
    assertEquals(given, statements.map(({ Sid, Action }) => ({ Sid, Action: [...Action] })));
    const resources = [...policy.matchAll(/Resource = \[([^\]]+)\]/g)].map(([, arn]) => arn);
    assertEquals(resources, ["aws_kms_key.enclave.arn", "aws_dynamodb_table.accounts.arn"]);
  },
);

ofTerraform(
  "Terraform lets EventBridge publish the alarm, without a condition, which EventBridge does not support",
  (resource) => {
    const target = resource("aws_cloudwatch_event_target", "key_changed");
    const policy = resource("aws_sns_topic_policy", "alarms");
    assertEquals([field(target, "arn"), field(policy, "arn")], [
      "${aws_sns_topic.alarms.arn}",
      "${aws_sns_topic.alarms.arn}",
    ]);
    const text = String(field(policy, "policy"));
    assert(text.includes('Principal = {Service = "events.amazonaws.com"}, Action = "sns:Publish"'), text);
    assert(!text.includes("Condition"), text);
  },
);

ofTerraform(
  "Terraform lets Session Manager connect to the parent, which is launched with enclaves",
  (resource) => {
    const attached = resource("aws_iam_role_policy_attachment", "ssm");
    assert(String(field(attached, "policy_arn")).endsWith(':iam::aws:policy/AmazonSSMManagedInstanceCore"'));
    const instance = resource("aws_instance", "parent");
    assertEquals(at(instance, "enclave_options", 0, "enabled"), true);
    assertEquals(at(instance, "metadata_options", 0, "http_tokens"), '"required"');
  },
);

/** The script of an instance's user data, carried out on an allocator's file as AWS's package brings it. */
async function reserved(script: string): Promise<readonly unknown[]> {
  await using folder = await Folder.make({
    "allocator.yaml":
      "---\n# How much memory.\nmemory_mib: 512\n#\n# How many CPUs.\ncpu_count: 2\n# cpu_pool: 2,3\n",
    "bin/dnf": "#!/bin/sh\n",
    "bin/systemctl": '#!/bin/sh\necho "$*" >>"${0%/*}/calls"\n',
  });
  for (const name of ["dnf", "systemctl"]) await Deno.chmod(`${folder.path}/bin/${name}`, 0o755);
  const moved = script.replaceAll("/etc/nitro_enclaves/", `${folder.path}/`);
  const env = { PATH: `${folder.path}/bin:/usr/bin:/bin` };
  const { code, stderr } = await runTool("bash", ["-c", moved], { env });
  assertEquals(code, 0, stderr);
  const allocator = parse(await Deno.readTextFile(`${folder.path}/allocator.yaml`));
  assertEquals(Object.keys(allocator), ["memory_mib", "cpu_count"]);
  const calls = await Deno.readTextFile(`${folder.path}/bin/calls`);
  assertEquals(calls, "enable --now nitro-enclaves-allocator.service\n");
  return [allocator.memory_mib, allocator.cpu_count];
}

Deno.test("a node's user data installs nitro-cli, and reserves memory and CPUs", async () => {
  const parts = (await read("kubernetes/node-user-data.txt")).split(/^--denclave(?:--)?\n/m).slice(1, 3);
  const [config = "", script = ""] = parts.map((part) => part.slice(part.indexOf("\n\n") + 2));
  assertEquals(parts.map((part) => /^Content-Type: ([\w/-]+);/.exec(part)?.[1]), [
    "text/cloud-config",
    "text/x-shellscript",
  ]);
  assert(config.startsWith("#cloud-config\n") && script.startsWith("#!/bin/bash\n"));
  assertEquals(parse(config), { bootcmd: ["dnf install -y aws-nitro-enclaves-cli"] });
  assertEquals(await reserved(script), [2048, 2]);
});

ofTerraform("the user data of Terraform's instance reserves memory and CPUs", async (resource) => {
  const [, script = ""] =
    /^"<<-EOT\n([^]*)\n\s*EOT"$/.exec(String(field(resource("aws_instance", "parent"), "user_data"))) ?? [];
  assertEquals(await reserved(script.replace(/^ {4}/gm, "")), [2048, 2]);
});
