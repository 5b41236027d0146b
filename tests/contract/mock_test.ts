/** The contract, against the mocked dlopen: runs anywhere, without a compiler. */
import { MockSdk } from "../helpers/mock_sdk.ts";
import { testSdkContract } from "./sdk_contract.ts";

testSdkContract("mock", () => new MockSdk());
