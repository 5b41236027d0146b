/**
 * The one way to CycloneDX's library, which writes the bill of materials of a release.
 *
 * @module
 */
// deno-lint-ignore no-import-prefix
export { Enums, Models, Serialize, Spec } from "npm:@cyclonedx/cyclonedx-library@10.3.0";
