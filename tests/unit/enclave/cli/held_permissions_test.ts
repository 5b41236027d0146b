/** How a process reports the permissions that it holds. */
import { assertEquals } from "@std/assert";
import { LIBC_PATHS } from "../../../../ffi/libc.ts";
import { heldPermissions } from "../../../../lib/enclave/cli/permissions.ts";

const GRANTS = LIBC_PATHS.map((path) => ({ name: "ffi", path }) as const);

Deno.test({
  name: "a permission for one path is seen, which a query without a path does not see",
  permissions: { ffi: LIBC_PATHS.map((path) => path), read: false },
  fn: () => {
    assertEquals(heldPermissions(GRANTS).includes("ffi"), true);
    Deno.permissions.revokeSync({ name: "ffi" });
    assertEquals(heldPermissions(GRANTS).includes("ffi"), false);
  },
});
