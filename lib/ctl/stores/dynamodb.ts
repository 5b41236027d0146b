/**
 * Accounts in DynamoDB, through the AWS SDK's document client: table {Name (key), KeyId, EncryptedPrivateKey, Address, EncryptedDataKey, version,
 * created}.
 *
 * @module
 */
import { messageOf } from "../../shared/errors.ts";
import { type AwsClientOptions, dynamoDbClient } from "../aws/clients.ts";
import {
  CreateTableCommand,
  DescribeTableCommand,
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  ScanCommand,
} from "../aws/deps/aws_sdk.ts";
import { type AwsMeaning } from "../../shared/aws/errors.ts";
import { parentAdvice } from "../aws/advice.ts";
import {
  accountChanged,
  accountExists,
  type AccountRow,
  type AccountStore,
  COLUMNS,
  fromColumns,
  StoreError,
  type StoreErrorCode,
  toColumns,
} from "./account_store.ts";

/** Options of {@link openDynamoDbStore}. */
interface DynamoDbStoreOptions extends AwsClientOptions {
  readonly table: string;
}

/** Interval in milliseconds, and number, of the polls of a new table. */
const TABLE_POLL_MS = 500;
const TABLE_POLLS = 60;

const CODES: Readonly<Record<AwsMeaning, StoreErrorCode>> = {
  denied: "store_denied",
  expired: "store_denied",
  credentials: "store_denied",
  missing: "store_table_missing",
  refused: "store_failed",
  unavailable: "store_unavailable",
};

function nameOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.name : "";
}

/** Turns a DynamoDB failure into an error with a hint. */
function translate(thrown: unknown, table: string, doing: string): StoreError {
  if (thrown instanceof StoreError) return thrown;
  const name = nameOf(thrown);
  const { meaning, hint } = parentAdvice(name, "table");
  return new StoreError(`Cannot ${doing} in DynamoDB table ${table}: ${name}: ${messageOf(thrown)}`, {
    code: CODES[meaning],
    hint,
    cause: thrown,
  });
}

/** Opens the store. Nothing is sent yet. */
export function openDynamoDbStore(options: DynamoDbStoreOptions): AccountStore {
  const { table, region, endpoint } = options;
  const client = dynamoDbClient(options);
  const documents = DynamoDBDocumentClient.from(client, { marshallOptions: { removeUndefinedValues: true } });

  async function attempt<T>(doing: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (thrown) {
      throw translate(thrown, table, doing);
    }
  }

  async function read(name: string): Promise<Record<string, unknown> | undefined> {
    const { Item } = await attempt(
      "read",
      () =>
        documents.send(
          new GetCommand({ TableName: table, Key: { [COLUMNS.name]: name }, ConsistentRead: true }),
        ),
    );
    return Item;
  }

  async function get(name: string): Promise<AccountRow | undefined> {
    const item = await read(name);
    return item === undefined ? undefined : fromColumns(item);
  }

  /** Writes a row on a condition. @param refused is thrown where the condition does not hold. */
  function put(
    row: AccountRow,
    condition: {
      readonly ConditionExpression: string;
      readonly ExpressionAttributeValues?: Readonly<Record<string, string>>;
    },
    { column, keep, refused }: {
      readonly column: string;
      readonly keep?: Readonly<Record<string, unknown>> | undefined;
      readonly refused: StoreError;
    },
  ): Promise<void> {
    return attempt("write", async () => {
      const Item = { ...keep, ...toColumns(row) };
      const names = { ExpressionAttributeNames: { "#column": column } };
      try {
        await documents.send(new PutCommand({ TableName: table, Item, ...condition, ...names }));
      } catch (thrown) {
        if (nameOf(thrown) !== "ConditionalCheckFailedException") throw thrown;
        // The reply to a first attempt may have been lost: then the stored row is this one.
        const present = await get(row.name);
        if (present?.encryptedPrivateKey !== row.encryptedPrivateKey) throw refused;
      }
    });
  }

  async function untilActive(): Promise<void> {
    for (let poll = 0; poll < TABLE_POLLS; poll++) {
      const { Table } = await client.send(new DescribeTableCommand({ TableName: table }));
      if (Table?.TableStatus === "ACTIVE") return;
      await new Promise((resolve) => setTimeout(resolve, TABLE_POLL_MS));
    }
    throw new Error("it did not become active in time");
  }

  return {
    description: `DynamoDB table ${table}, ${endpoint ?? region}`,
    get,
    createTable: () =>
      attempt("make the table", async () => {
        try {
          await client.send(
            new CreateTableCommand({
              TableName: table,
              AttributeDefinitions: [{ AttributeName: COLUMNS.name, AttributeType: "S" }],
              KeySchema: [{ AttributeName: COLUMNS.name, KeyType: "HASH" }],
              BillingMode: "PAY_PER_REQUEST",
            }),
          );
        } catch (thrown) {
          if (nameOf(thrown) !== "ResourceInUseException") throw thrown;
          await untilActive();
          return "exists";
        }
        await untilActive();
        return "created";
      }),
    insert: (row) =>
      put(row, { ConditionExpression: "attribute_not_exists(#column)" }, {
        column: COLUMNS.name,
        refused: accountExists(row.name),
      }),
    replace: async (old, row) => {
      const condition = {
        ConditionExpression: "#column = :old",
        ExpressionAttributeValues: { ":old": old.encryptedPrivateKey },
      };
      await put(row, condition, {
        column: COLUMNS.encryptedPrivateKey,
        // Attributes of other programs.
        keep: await read(row.name),
        refused: accountChanged(row.name),
      });
    },
    async *list() {
      let from: Record<string, unknown> | undefined;
      do {
        const start = from;
        const page = await attempt(
          "list",
          () => documents.send(new ScanCommand({ TableName: table, ExclusiveStartKey: start })),
        );
        for (const item of page.Items ?? []) yield fromColumns(item);
        from = page.LastEvaluatedKey;
      } while (from !== undefined);
    },
    [Symbol.asyncDispose]: () => {
      documents.destroy();
      client.destroy();
      return Promise.resolve();
    },
  };
}
