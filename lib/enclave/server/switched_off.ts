/**
 * A feature that the measured configuration does not name.
 *
 * @module
 */
import { WireError } from "../../shared/wire/messages.ts";
import type { Feature, Routes } from "./feature.ts";

/**
 * What stands in for a feature: each of its requests is answered `feature_off`, and nothing of it is in `health`.
 *
 * @param feature disposed of
 */
export function switchedOff(feature: Feature): Feature {
  const { name, routes, apiRoutes } = feature;
  feature[Symbol.dispose]();
  const answer = () => {
    throw new WireError(
      "feature_off",
      `The feature ${name} is switched off in this image: to serve it, build one that names it in --features (FEATURES)`,
    );
  };
  const refuse = (all: Routes = {}): Routes =>
    Object.fromEntries(Object.keys(all).map((request) => [request, { answer }]));
  return {
    name,
    routes: refuse({ ...routes, ...feature.outerRoutes?.(answer) }),
    apiRoutes: refuse(apiRoutes),
    state: {},
    warnings: [],
    [Symbol.dispose]: () => {},
  };
}
