/**
 * Bundles with the Deno that runs this, as the compile task does. usage: bundle_main.ts <entry> <lock file>
 * <folder>; prints where the bundle is, its hash and its map.
 *
 * @module
 */
import { bundle } from "../../scripts/bundle.ts";

const [entry = "", lock = "", folder = ""] = Deno.args;
console.log(JSON.stringify(await bundle({ entry, lock, folder, name: "bundle.js" })));
