/**
 * Time limits of promises. Runs in browsers.
 *
 * @module
 */

/** What a promise gives, if it does so in time. @throws what `late` makes, after that many milliseconds */
export async function within<T>(ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(late()), ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}
