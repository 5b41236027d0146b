/**
 * The permissions that a process holds, and gives up.
 *
 * @module
 */

/** All kinds of permission. */
export const PERMISSIONS = ["read", "write", "net", "env", "run", "ffi", "sys"] as const;

/**
 * The names of the permissions that the process holds.
 *
 * @param grants what the process was started with. A query without a path does not see a grant that names one (measured with 2.6 and 2.9), so
 * each has to be asked for.
 */
export function heldPermissions(grants: readonly Deno.PermissionDescriptor[] = []): readonly string[] {
  return PERMISSIONS.filter((name) =>
    [{ name }, ...grants.filter((grant) => grant.name === name)].some((descriptor) => {
      const { state, partial } = Deno.permissions.querySync(descriptor);
      return state === "granted" || partial;
    })
  );
}

/** Gives permissions up for good. Revoking without a path also revokes grants that name a path (measured with Deno 2.6 and 2.9). */
export function giveUpPermissions(names: readonly (typeof PERMISSIONS)[number][]): void {
  for (const name of names) Deno.permissions.revokeSync({ name });
}
