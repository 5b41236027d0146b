/**
 * Checks that the expected PCRs identify an enclave. PCR0 measures the image; PCR8 identifies its signer, so every image ever signed with that key
 * passes. The other registers identify no code: an enclave in debug mode has the same PCR3 (role) and PCR4 (instance), whatever it runs.
 *
 * Runs in browsers.
 *
 * @module
 */

/** The PCRs of one build: hex of 96 digits, by index 0 to 31. */
export type ExpectedPcrs = Readonly<Record<number, string>>;

const IMAGE_PCR = 0;
const SIGNER_PCR = 8;

/** The accepted builds: one, or any of several. */
export function buildsOf(pcrs: ExpectedPcrs | readonly ExpectedPcrs[]): readonly ExpectedPcrs[] {
  return Array.isArray(pcrs) ? pcrs as readonly ExpectedPcrs[] : [pcrs as ExpectedPcrs];
}

/** Why these PCRs identify no enclave; undefined when each build names PCR0 or PCR8, and none is all zeros. */
export function expectationProblem(pcrs: ExpectedPcrs | readonly ExpectedPcrs[]): string | undefined {
  const builds = buildsOf(pcrs);
  if (builds.length === 0) return "no build is accepted";
  for (const build of builds) {
    for (const [index, value] of Object.entries(build)) {
      if (/^0+$/.test(value)) {
        return `PCR${index} is expected to be all zeros, which an enclave in debug mode has whatever it runs`;
      }
    }
    if (!Object.hasOwn(build, IMAGE_PCR) && !Object.hasOwn(build, SIGNER_PCR)) {
      return "neither PCR0 (the image) nor PCR8 (who signed it) is expected, so that any enclave would pass";
    }
  }
  return undefined;
}

/** Whether some build is identified only by its signer: every image ever signed with that key passes. */
export function isSignerAlone(pcrs: ExpectedPcrs | readonly ExpectedPcrs[]): boolean {
  return buildsOf(pcrs).some((build) => !Object.hasOwn(build, IMAGE_PCR) && Object.hasOwn(build, SIGNER_PCR));
}
