/** Finding and opening the libraries. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { DEFAULT_LIBRARY_DIRS, type Dlopen } from "../../ffi/library.ts";
import { openSdk } from "../../ffi/sdk.ts";
import { SdkError } from "../../ffi/errors.ts";
import { NATIVE_DIR } from "../helpers/native_sdk.ts";
import { MockSdk } from "../helpers/mock_sdk.ts";

/** A dlopen that has files in some folders only, and notes what it was asked for. */
function dlopenWith(
  files: Readonly<Record<string, "opens" | string>>,
): { readonly dlopen: Dlopen; readonly asked: string[] } {
  const mock = new MockSdk();
  const asked: string[] = [];
  const dlopen: Dlopen = (path, symbols) => {
    asked.push(path);
    const found = files[path];
    if (found === "opens") return mock.dlopen(path, symbols);
    throw new Error(
      found ?? `Could not open library: ${path}: cannot open shared object file: No such file or directory`,
    );
  };
  return { dlopen, asked };
}

Deno.test("the folders are tried in the stated order, and every path is in the error", () => {
  const { dlopen, asked } = dlopenWith({});
  const error = assertThrows(() => openSdk({ dlopen }), SdkError);
  const paths = DEFAULT_LIBRARY_DIRS.map((directory) => `${directory}/libaws-c-common.so`);
  assertEquals(asked.filter((path) => path.endsWith("common.so")), paths);
  for (const path of paths) assertStringIncludes(error.message, path);
});

Deno.test("a named folder is the only one that is tried", () => {
  const { dlopen, asked } = dlopenWith({});
  assertThrows(
    () => openSdk({ libraryDir: "/opt/sdk/", dlopen }),
    SdkError,
    "/opt/sdk/libaws-c-common.so",
  );
  assertEquals(asked.every((path) => path.startsWith("/opt/sdk/lib")), true);
});

Deno.test("the common library is opened before the SDK's, and libnsm before both where there is one", () => {
  const { dlopen, asked } = dlopenWith({
    "/opt/libnsm.so": "opens",
    "/opt/libaws-c-common.so": "opens",
    "/opt/libaws-nitro-enclaves-sdk-c.so": "opens",
  });
  assertEquals(openSdk({ libraryDir: "/opt", dlopen }).directory, "/opt");
  assertEquals(asked, ["/opt/libnsm.so", "/opt/libaws-c-common.so", "/opt/libaws-nitro-enclaves-sdk-c.so"]);
});

Deno.test("a file that the SDK's library needs and the loader does not find is named, with what to do", () => {
  const { dlopen } = dlopenWith({
    "/app/libnsm.so": "opens",
    "/app/libaws-c-common.so": "opens",
    "/app/libaws-nitro-enclaves-sdk-c.so":
      "Could not open library: libnsm.so: cannot open shared object file: No such file or directory",
  });
  const error = assertThrows(
    () => openSdk({ dlopen }),
    SdkError,
    "the loader does not find libnsm.so",
  );
  assertStringIncludes(error.hint ?? "", "$ORIGIN");
});

Deno.test("a relative folder is refused before anything is opened", () => {
  const { dlopen, asked } = dlopenWith({});
  assertThrows(() => openSdk({ libraryDir: "lib", dlopen }), SdkError, "not absolute");
  assertEquals(asked, []);
});

Deno.test("a library that lacks a symbol ends the search, with the symbol's name", () => {
  const { dlopen, asked } = dlopenWith({
    "/app/libaws-c-common.so": "opens",
    "/app/libaws-nitro-enclaves-sdk-c.so":
      "Failed to register symbol x: Could not obtain symbol from the library: undefined symbol: aws_kms_decrypt_blocking",
  });
  const error = assertThrows(
    () => openSdk({ dlopen }),
    SdkError,
    "lacks the symbol aws_kms_decrypt_blocking",
  );
  assertEquals(error.symbol, "aws_kms_decrypt_blocking");
  assertEquals(asked.some((path) => path.startsWith("/usr")), false);
});

Deno.test("the real dlopen says which symbol a wrong library lacks", () => {
  const error = assertThrows(
    () =>
      openSdk({
        libraryDir: NATIVE_DIR,
        dlopen: (path, symbols) =>
          Deno.dlopen(path.replace("libaws-nitro-enclaves-sdk-c.so", "libaws-c-common.so"), symbols),
      }),
    SdkError,
    "lacks the symbol aws_",
  );
  assertStringIncludes(error.message, NATIVE_DIR);
});

Deno.test("a folder outside the permission is distinguished from one without the files", () => {
  const error = assertThrows(() => openSdk({ libraryDir: "/somewhere/else" }), SdkError);
  assertStringIncludes(error.message, "not among the files that --allow-ffi names");
});
