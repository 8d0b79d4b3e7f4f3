// @ts-check
/** Pictures from other tools, and how many. */
import { byId, drops } from "./app.js";

/** @param {HTMLInputElement} input */
function count(input) {
  const words = input.form?.querySelector("[data-count]"), n = input.files?.length ?? 0;
  if (words) words.textContent = n ? `${n} picture${n === 1 ? "" : "s"} chosen` : "";
}

document.addEventListener("change", (event) => {
  const input = /** @type {HTMLInputElement} */ (event.target);
  if (input.id === "judge-files") count(input);
});
drops((files, zone) => {
  const input = /** @type {HTMLInputElement | null} */ (byId("judge-files"));
  if (zone && input) { input.files = files; count(input); }
});
