/** The contract, against the C stand-ins: real `Deno.dlopen`, real layouts, structs by value. */
import { NativeSdk } from "../helpers/native_sdk.ts";
import { testSdkContract } from "./sdk_contract.ts";

testSdkContract("C stand-in", () => new NativeSdk());
