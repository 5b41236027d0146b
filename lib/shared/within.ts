/**
 * Time limits of promises. Runs in browsers.
 *
 * @module
 */

/** What a promise gives, if it does so in time. @throws what `late` makes, after that many milliseconds */
export async function within<T>(ms: number, work: Promise<T>, late: () => Error): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const isLate = new Promise<never>((_, reject) => timer = setTimeout(() => reject(late()), ms));
  try {
    return await Promise.race([work, isLate]);
  } finally {
    clearTimeout(timer);
  }
}
