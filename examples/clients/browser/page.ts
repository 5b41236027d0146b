/// <reference lib="dom" />
/**
 * The page's script.
 *
 * @module
 */
import { connectEnclave } from "./sealed_bridge.ts";

const form = document.querySelector("form");
const output = document.querySelector("output");

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = new FormData(form);
  const show = (text: string) => {
    if (output !== null) output.textContent = text;
  };
  connectEnclave({ bridge: String(fields.get("bridge")), pcr0: String(fields.get("pcr0")) })
    .then(async (enclave) => {
      const reply = await enclave.exchange({ type: "ping" });
      show(`${enclave.document.moduleId} answered ${reply["msg"]}`);
    })
    .catch((problem) => show(`Not trusted: ${problem.message}`));
});
