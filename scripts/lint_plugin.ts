/**
 * This project's own lint rules: who may import whom, what may be named where, where random numbers come
 * from, and what a waiting request may hold (docs/architecture.md, "Who may import whom").
 *
 * @module
 */

/** What of lib/shared the enclave may not import: documents are verified outside, and random numbers come from its own port. */
export const UNMEASURED =
  /^lib\/shared\/(attestation\/(?!(cbor|statement)(\.ts)?$).*|receipts\/(?!claims(\.ts)?$).*|(crypto\/host_random|sealed\/(mod|seal_request|sender)|wire\/(connect|mod))(\.ts)?)$/;

/** What a room may import: the first entry whose `from` matches applies. Everything may import `lib/std/`. */
export const WALLS: readonly {
  readonly from: RegExp;
  readonly to: RegExp;
  readonly except?: RegExp;
  readonly why: string;
}[] = [
  {
    from: /^ffi\//,
    to: /^ffi\/|^lib\/shared\/errors\.ts$/,
    why: "ffi/ is independent of the app: it may import only the error type",
  },
  { from: /^lib\/std\//, to: /^lib\/std\//, why: "lib/std stands for a library of others" },
  {
    from: /^lib\/shared\/attestation\/(cbor|sign1|ber)\.ts$|^lib\/shared\/bytes\.ts$/,
    to: /^lib\/shared\/attestation\/(cbor|sign1|ber)\.ts$|^lib\/shared\/(bytes|errors)\.ts$/,
    why: "encodings do not depend on what they encode",
  },
  {
    from: /^lib\/shared\//,
    to: /^lib\/shared\//,
    why: "both sides and browsers use lib/shared, so it imports no other room",
  },
  {
    from: /^lib\/enclave\/(kms|cli)\//,
    to: /^lib\/(enclave|shared)\/|^ffi\//,
    except: UNMEASURED,
    why:
      "the measured code imports lib/shared and ffi alone, and nothing that verifies or simulates documents",
  },
  {
    from: /^lib\/enclave\/server\//,
    to: /^lib\/enclave\/(server|kms)\/|^lib\/shared\//,
    except: UNMEASURED,
    why: "the server knows no feature: lib/enclave/features.ts lists them",
  },
  {
    from: /^lib\/enclave\//,
    to: /^lib\/(enclave|shared)\/|^lib\/workflow_context\.ts$/,
    except: UNMEASURED,
    why:
      "features get what calls C from outside (main.ts), and import nothing that verifies or simulates documents",
  },
  {
    from: /^main\.ts$/,
    to: /^lib\/(enclave|shared)\/|^lib\/workflow\.ts$|^ffi\//,
    except: UNMEASURED,
    why:
      "the measured code imports lib/shared and ffi alone, and nothing that verifies or simulates documents",
  },
  {
    from: /^lib\/workflow(_context)?\.ts$/,
    to: /^lib\/workflow_context\.ts$|^lib\/shared\/log\.ts$/,
    why: "a workflow sees plaintexts and nothing else",
  },
  {
    from: /^lib\/ctl\/eif\//,
    to: /^lib\/ctl\/(eif|config\/deps)\/|^lib\/shared\//,
    why: "lib/ctl/eif builds images of any program, so it must not depend on this one",
  },
  {
    from: /^lib\/ctl\/image\//,
    to: /^lib\/ctl\/(eif|image)\/|^lib\/shared\/|^ffi\/(symbols|constants)\.ts$/,
    why: "outside the enclave nothing of the enclave is imported but names of libraries and symbols",
  },
  {
    from: /^lib\/ctl\/commands\//,
    to: /^lib\/(ctl|shared)\//,
    why: "outside the enclave nothing of the enclave is imported",
  },
  {
    from: /^lib\/ctl\//,
    // A number that a shell script needs as well is a JSON file in scripts/, which is copied to the parent without lib/.
    to: /^lib\/ctl\/(?!commands\/)|^lib\/shared\/|^scripts\/\w+\.json$/,
    why: "outside the enclave nothing of the enclave is imported, and libraries do not know the commands",
  },
  {
    from: /^lib\/dev\//,
    to: /^lib\/(dev|enclave|shared)\/|^lib\/ctl\/(?!commands\/)|^lib\/workflow(_context)?\.ts$|^ffi\//,
    why: "what is simulated composes the other rooms, and does not know the commands",
  },
  { from: /^(?:lib|scripts)\//, to: /^(?!tests\/)/, why: "the product does not know its tests" },
];

/** What sets the machine's clock, and who may import it: the enclave's entry, and a test with a recorder in C. */
const CLOCK = { module: "ffi/clock.ts", importers: /^main\.ts$|^tests\/contract\/clock_test\.ts$/ } as const;

/** What of lib/ may draw random numbers: the port, and what never runs in the enclave. */
const MAY_DRAW: readonly RegExp[] = [
  /^lib\/shared\/crypto\/(host_)?random\.ts$/,
  /^lib\/(ctl|dev)\//,
  /^lib\/shared\/sealed\/(mod|sender)\.ts$/,
  /^ffi\/\w+_test\.ts$/, // the tests of ffi/, in a folder of that name
];

/** What draws random numbers of its own, by its name: of the Web, of Node, of noble. */
const DRAWS: readonly RegExp[] = [
  /^(getRandomValues|randomUUID|keygen)$/,
  /^random(Bytes|Fill|FillSync|Int|SecretKey|PrivateKey)$/,
  /^generate(Key|KeyPair|Prime)(Sync)?$/,
  /^create(ECDH|DiffieHellman|DiffieHellmanGroup)$/,
];

const ROOT = new URL("../", import.meta.url).pathname;

/** A file's path from the root of the repository. */
function repoPath(filename: string): string {
  return filename.startsWith(ROOT) ? filename.slice(ROOT.length) : filename;
}

/** Where an import leads, from the root; undefined for packages. */
function target(importer: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const parts = importer.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** The text of a string literal, whatever wraps it. */
function literal(node: Deno.lint.Node): unknown {
  if (node.type === "TSLiteralType") return literal(node.literal);
  return node.type === "Literal" ? node.value : undefined;
}

/** The name that a property is reached by: `a.b` or `a["b"]`. */
function nameOf(node: Deno.lint.Node): unknown {
  return node.type === "Identifier" ? node.name : literal(node);
}

/** `Deno`, or `globalThis.Deno`. */
function isDeno(node: Deno.lint.Node): boolean {
  return nameOf(node) === "Deno" || (node.type === "MemberExpression" && nameOf(node.property) === "Deno");
}

function checkImport(context: Deno.lint.RuleContext, node: Deno.lint.Node, specifier: unknown): void {
  const from = repoPath(context.filename);
  const to = typeof specifier === "string" ? target(from, specifier) : undefined;
  if (to === undefined) return;
  if (to === CLOCK.module && !CLOCK.importers.test(from)) {
    context.report({ node, message: `${from} must not import ${to}: a host's clock is never set` });
  }
  const wall = WALLS.find((candidate) => candidate.from.test(from));
  if (wall === undefined || to.startsWith("lib/std/")) return;
  if (wall.to.test(to) && wall.except?.test(to) !== true) return;
  context.report({ node, message: `${from} must not import ${to}: ${wall.why}` });
}

type FunctionNode =
  | Deno.lint.FunctionDeclaration
  | Deno.lint.FunctionExpression
  | Deno.lint.ArrowFunctionExpression;

const RAW = /\b(WireObject|unknown)\b/;
const IN_TURN =
  "what waits gets parsed values only, since the memory of a request that waits is no longer counted";

function isFunction(node: Deno.lint.Node): node is FunctionNode {
  return /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type);
}

/** The text of each parameter's type; empty where it is inferred. */
function parameterTypes(context: Deno.lint.RuleContext, { params }: FunctionNode): readonly string[] {
  return params.map((given) => {
    const whole = given.type === "TSParameterProperty" ? given.parameter : given;
    const parameter = whole.type === "AssignmentPattern" ? whole.left : whole;
    const { typeAnnotation } = parameter;
    return typeAnnotation === undefined ? "" : context.sourceCode.getText(typeAnnotation);
  });
}

/**
 * In the service, JSON that is not parsed stays in functions that neither wait nor make functions that could
 * keep it.
 */
function checkFunction(context: Deno.lint.RuleContext, node: FunctionNode): void {
  for (const type of node.async ? parameterTypes(context, node) : []) {
    if (type !== "" && !RAW.test(type)) continue;
    const message = `An async function takes no WireObject, no unknown and no inferred type: ${IN_TURN}`;
    context.report({ node, message });
  }
  const isInside = context.sourceCode.getAncestors(node).some((outer) =>
    isFunction(outer) && parameterTypes(context, outer).some((type) => /\bWireObject\b/.test(type))
  );
  if (isInside) {
    context.report({
      node,
      message: `A function that takes a WireObject makes no other function: ${IN_TURN}`,
    });
  }
}

/** What is declared in the service to be kept. */
function checkKept(
  context: Deno.lint.RuleContext,
  node: Deno.lint.TSPropertySignature | Deno.lint.PropertyDefinition,
): void {
  const type = node.typeAnnotation === undefined ? "" : context.sourceCode.getText(node.typeAnnotation);
  if (!RAW.test(type.replaceAll("Promise<unknown>", ""))) return;
  context.report({ node, message: `No property is a WireObject or unknown: ${IN_TURN}` });
}

const plugin: Deno.lint.Plugin = {
  name: "house",
  rules: {
    "import-walls": {
      create: (context) => ({
        ImportDeclaration: (node) => checkImport(context, node, node.source.value),
        ExportNamedDeclaration: (node) => checkImport(context, node, node.source?.value),
        ExportAllDeclaration: (node) => checkImport(context, node, node.source.value),
        ImportExpression: (node) => checkImport(context, node, literal(node.source)),
        TSImportType: (node) => checkImport(context, node, literal(node.argument)),
      }),
    },
    "parsed-before-waiting": {
      create: (context) => {
        if (!/^lib\/enclave\/(?!kms\/|cli\/|children\/)/.test(repoPath(context.filename))) return {};
        return {
          FunctionDeclaration: (node) => checkFunction(context, node),
          FunctionExpression: (node) => checkFunction(context, node),
          ArrowFunctionExpression: (node) => checkFunction(context, node),
          PropertyDefinition: (node) => checkKept(context, node),
          "TSInterfaceBody > TSPropertySignature": (node: Deno.lint.TSPropertySignature) =>
            checkKept(context, node),
          "TSTypeAliasDeclaration TSPropertySignature": (node: Deno.lint.TSPropertySignature) =>
            checkKept(context, node),
        };
      },
    },
    "no-unsafe-pointers": {
      create: (context) => ({
        'MemberExpression[object.name="Deno"][property.name=/^Unsafe/]': (node: Deno.lint.MemberExpression) =>
          context.report({
            node,
            message: "No Deno.Unsafe*: structs are bytes, and pointers bigints (ffi/layout.ts)",
          }),
      }),
    },
    "dlopen-in-ffi": {
      create: (context) => {
        const report = (node: Deno.lint.Node) => {
          if (/^(ffi|tests)\//.test(repoPath(context.filename))) return;
          context.report({ node, message: "Only ffi/ may use Deno.dlopen" });
        };
        return {
          MemberExpression: (node) => {
            if (isDeno(node.object) && nameOf(node.property) === "dlopen") report(node);
          },
          VariableDeclarator: (node) => {
            if (node.id.type !== "ObjectPattern" || node.init === null || !isDeno(node.init)) return;
            for (const property of node.id.properties) {
              if (property.type === "Property" && nameOf(property.key) === "dlopen") report(property);
            }
          },
        };
      },
    },
    "no-host-clock": {
      create: (context) => {
        const from = repoPath(context.filename);
        if (from === CLOCK.module || CLOCK.importers.test(from)) return {};
        const check = (node: Deno.lint.Node, name: unknown) => {
          if (!/^(clock_(settime|adjtime)|settimeofday|adjtimex?|stime)$/.test(String(name))) return;
          context.report({ node, message: `Only ${CLOCK.module} may set a clock: a host's is never set` });
        };
        return {
          Identifier: (node) => check(node, node.name),
          Literal: (node) => check(node, node.value),
        };
      },
    },
    "one-source-of-randomness": {
      create: (context) => {
        const from = repoPath(context.filename);
        const isEnclave = /^(main\.ts$|ffi\/|lib\/)/.test(from) && !MAY_DRAW.some((path) => path.test(from));
        if (!isEnclave) return {};
        const check = (node: Deno.lint.Node, name: unknown) => {
          if (typeof name !== "string" || !DRAWS.some((known) => known.test(name))) return;
          context.report({
            node,
            message: `No ${name}: random numbers come from lib/shared/crypto/random.ts`,
          });
        };
        return {
          Identifier: (node) => check(node, node.name),
          Literal: (node) => check(node, node.value),
          'Identifier[name="Math"]': (node: Deno.lint.Identifier) => {
            // Math is only used with a member's name, so that `random` cannot hide.
            const { parent } = node;
            const member = parent.type === "MemberExpression" ? nameOf(parent.property) : "random";
            if (typeof member === "string" && member !== "random") return;
            context.report({
              node,
              message: "No Math.random: random numbers come from lib/shared/crypto/random.ts",
            });
          },
        };
      },
    },
    "error-names": {
      create: (context) => {
        if (!/^(main\.ts$|(ffi|lib|scripts)\/)/.test(repoPath(context.filename))) return {};
        const message =
          "A bundle may rename a class: an error sets its name (override name = …), and no other is used";
        return {
          ClassDeclaration: (node) => {
            if (node.superClass === null || node.id === null) return;
            const setsName = node.body.body.some((member) =>
              member.type === "PropertyDefinition" && nameOf(member.key) === "name" &&
              member.value !== null &&
              literal(member.value) === node.id?.name
            );
            if (!setsName) context.report({ node, message });
          },
          MemberExpression: (node) => {
            if (nameOf(node.property) !== "name") return;
            const { object } = node;
            const isClass = object.type === "MetaProperty" ||
              object.type === "MemberExpression" && nameOf(object.property) === "constructor";
            if (isClass) context.report({ node, message });
          },
        };
      },
    },
    "process-in-entries": {
      create: (context) => ({
        'MemberExpression[object.name="Deno"][property.name=/^(env|exit|addSignalListener)$/]': (
          node: Deno.lint.MemberExpression,
        ) => {
          if (
            /^(main\.ts$|scripts\/|tests\/|lib\/shared\/cli\/entry\.ts$|lib\/enclave\/cli\/permissions\.ts$)/
              .test(
                repoPath(context.filename),
              )
          ) return;
          context.report({
            node,
            message:
              "Environment, exit and signals belong to the entries: main.ts, scripts/, lib/shared/cli/entry.ts and lib/enclave/cli/permissions.ts",
          });
        },
      }),
    },
  },
};

export default plugin;
