/**
 * Makes the file of a local KMS and wraps a session key with its key. usage: wrap_tsk.ts <file> <key, hex>; prints base64.
 *
 * @module
 */
import { decodeHex, encodeBase64 } from "@std/encoding";
import { TSK_CONTEXT } from "../../lib/shared/aws/tsk_context.ts";
import { LocalKms } from "../../lib/dev/kms/local.ts";

const [file = "", tsk = ""] = Deno.args;
await using kms = await LocalKms.open({ region: "us-east-1", file });
console.log(encodeBase64(await kms.encrypt(kms.keyArns[0] ?? "", decodeHex(tsk), TSK_CONTEXT)));
