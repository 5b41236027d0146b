/// <reference lib="dom" />
/**
 * The page's script.
 *
 * @module
 */
import { sign } from "./sign.ts";

const form = document.querySelector("form");
const output = document.querySelector("output");

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = new FormData(form);
  const field = (name: string) => String(fields.get(name));
  const show = (text: string) => {
    if (output !== null) output.textContent = text;
  };
  sign({ bridge: field("bridge"), pcrs: { 0: field("pcr0") }, text: field("text") })
    .then(({ signature, public_key }) => show(`Signature ${signature} by the key ${public_key}`))
    .catch((problem) => show(`${problem.code}: ${problem.message}`));
});
