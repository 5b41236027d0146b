/**
 * Waiting with a deadline.
 *
 * @module
 */

/** The promise's value, or an error that names what did not arrive in time. Milliseconds. */
export async function within<T>(promise: PromiseLike<T>, what: string, ms = 5_000): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what} did not come within ${ms} ms`)), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
