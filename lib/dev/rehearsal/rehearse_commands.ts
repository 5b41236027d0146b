/**
 * The commands that a rehearsal prints: each with every option filled in, in the order in which they work. `$R` is the rehearsal's folder.
 *
 * @module
 */

/** What a rehearsal has started. */
interface RehearsalPlace {
  readonly keyArn: string;
  /** Addresses of the service with the PCRs of the first build and of the next one. */
  readonly enclaves: readonly [string, string];
  /** Base64, of the document that is asked for. */
  readonly nonce: string;
}

/** What a command shows; the command, one line for a shell in the repository's folder; its exit code, 0 unless given. */
type RehearsalStep = readonly [says: string, command: string, exitCode?: number];

/** Steps about one subject. */
interface RehearsalPart {
  readonly title: string;
  readonly steps: readonly RehearsalStep[];
}

/** How the printed commands start Deno: npx keeps it in a folder of its own, which is not on the PATH of another terminal. */
export function denoCommand(execPath: string): string {
  return execPath.includes("/_npx/") ? `npx --yes deno@${Deno.version.deno}` : "deno";
}

/** What the commands use: the folder, `denclavectl` from source, and the same with the credentials of a role. For bash and zsh. */
export function rehearsalSetup(folder: string): string {
  return `  R='${folder}'
  ctl() { ${denoCommand(Deno.execPath())} task --quiet ctl "$@"; }
  as() { (export $(cat "$R/$1.env"); shift; ctl "$@"); }
`;
}

/** The parts, in order: a later one needs what an earlier one made. */
export function rehearsalParts(
  { keyArn, enclaves, nonce }: RehearsalPlace,
): readonly RehearsalPart[] {
  const [first, next] = enclaves;
  const ctl = (rest: string) => `ctl ${rest}`;
  const as = (role: string, rest: string) => `as ${role} ${rest}`;
  const root = `--root $R/nsm-root.pem`;
  const build = (number: number) => `-m $R/build-${number}.json`;
  const trusted = `${build(1)} ${root}`;
  const store = `--store sqlite:$R/accounts.sqlite`;
  const policy = `-f $R/policy.yaml`;
  const sign = (address: string) =>
    as("parent", `account sign --name alice --message hello --connect ${address} ${store}`);
  const gateway = (command: string, number = 1) =>
    as("parent", `gateway ${command} --config $R/gateway-${number}.yaml`);
  return [
    {
      title: "The enclave attests",
      steps: [
        [
          "ask for a document, and verify it under the simulated root, which is named",
          ctl(
            `client attest --connect ${first} ${trusted} --nonce ${nonce} --json > $R/attested.json`,
          ),
        ],
        [
          "verify the document that was kept",
          ctl(`attest verify $R/attested.json ${trusted} --nonce ${nonce}`),
        ],
        [
          "without --root only AWS's root is trusted: refused",
          ctl(`client attest --connect ${first} ${build(1)}`),
          1,
        ],
        ["another build's PCRs: refused", ctl(`client attest --connect ${first} ${build(2)} ${root}`), 1],
      ],
    },
    {
      title: "A session key",
      steps: [
        [
          "the owner of the data makes a key, and has KMS wrap it",
          as(
            "issuer",
            `tsk create -k ${keyArn} --tsk-file $R/tsk.hex > $R/tsk.wrapped`,
          ),
        ],
        [
          "the parent hands it over; KMS unwraps it for the attested enclave",
          as(
            "parent",
            `client configure --connect ${first} --sealed ${trusted} --encrypted-tsk "$(cat $R/tsk.wrapped)"`,
          ),
        ],
        [
          "process data: the default workflow returns its input unchanged",
          ctl(
            `client process --connect ${first} --sealed ${trusted} --tsk-file $R/tsk.hex --data hello`,
          ),
        ],
      ],
    },
    {
      title: "Accounts",
      steps: [
        [
          "make an account; its attestation document is verified and stored",
          as(
            "parent",
            `account create --name alice --attest ${trusted} --connect ${first} ${store}`,
          ),
        ],
        ["verify the stored document", ctl(`account show --name alice --verify ${trusted} ${store}`)],
        ["sign", sign(first)],
      ],
    },
    {
      title: "A master key",
      steps: [
        ["have the enclave make one, and store it", gateway(`init --new ${trusted}`)],
        ["sign with it", `${gateway(`sign ${trusted}`)} --digest ${"11".repeat(32)}`],
        ["what is stored and where it comes from", gateway(`status ${trusted}`)],
      ],
    },
    {
      title: "A new build",
      steps: [
        ["the key policy does not have the next build: KMS denies it", sign(next), 1],
        [
          "add the next build to the policy of the key",
          as("admin", `policy rollover ${policy} ${build(2)} > $R/both.json`),
        ],
        [
          "make the change; without --yes it is only shown",
          as("admin", `policy apply $R/both.json ${policy} --yes`),
        ],
        ["the next build signs with the same account", sign(next)],
        [
          "and opens the same master key, which the first build made",
          gateway(`init ${build(1)} ${build(2)} ${root}`, 2),
        ],
        [
          "take the first build out of the policy",
          as("admin", `policy finalise ${policy} ${build(2)} > $R/next-only.json`),
        ],
        ["make the change", as("admin", `policy apply $R/next-only.json ${policy} --yes`)],
        ["KMS denies the first build", sign(first), 1],
      ],
    },
  ];
}

/** The parts for a person: a heading, and for each command a comment above it. */
export function formatRehearsal(parts: readonly RehearsalPart[]): string {
  return parts.map(({ title, steps }) =>
    `${title}\n\n${
      steps.map(([says, command, exitCode = 0]) =>
        `  # ${says}${exitCode === 0 ? "" : ` (exit code ${exitCode})`}\n  ${command}\n`
      ).join("")
    }`
  ).join("\n");
}
