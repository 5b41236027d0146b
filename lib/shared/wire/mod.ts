/**
 * The protocol of the socket, for both of its sides.
 *
 * @module
 */
export * from "./address.ts";
export { ERROR_CODES } from "./error_codes.ts";
export * from "./framing.ts";
export * from "./json_shape.ts";
export * from "./messages.ts";
export * from "./process_binding.ts";
export * from "./protocol.ts";
export * from "./connect.ts";
export * from "./listen.ts";
