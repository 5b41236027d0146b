/**
 * dynalite as a separate process, because it loads native code. Prints its port.
 *
 * @module
 */
import dynalite from "../deps/dynalite.ts";

const server = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 });
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address !== null && typeof address !== "string") console.log(`http://127.0.0.1:${address.port}`);
});
