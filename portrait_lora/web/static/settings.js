// @ts-check
/** Settings: how many are changed, back to the usual value, and a word before changes are lost. */
import { all, byId } from "./app.js";

const form = /** @type {HTMLFormElement | null} */ (byId("settings"));
/** @param {Element} one @returns {string} */
const now = (one) => one instanceof HTMLInputElement && one.type === "checkbox" ? String(one.checked) : /** @type {HTMLInputElement} */ (one).value;
const fields = () => /** @type {HTMLInputElement[]} */ (all("[data-setting] [name]:not([type=hidden])"));
const before = new Map(fields().map((one) => [one.name, now(one)]));
let leaving = false;

function tell() {
  const changed = fields().filter((one) => now(one) !== before.get(one.name)).length, words = form?.querySelector("[data-changes]");
  if (words) words.textContent = changed ? `${changed} setting${changed === 1 ? "" : "s"} changed.` : "Nothing is changed.";
  return changed;
}

form?.addEventListener("input", tell);
form?.addEventListener("change", tell);
form?.addEventListener("submit", () => { leaving = true; });
form?.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? /** @type {HTMLElement | null} */ (event.target.closest("[data-usual-for]")) : null;
  const field = /** @type {HTMLInputElement | null} */ (byId(button?.dataset.usualFor ?? ""));
  if (!field) return;
  if (field.type === "checkbox") field.checked = field.dataset.usual === "true"; else field.value = field.dataset.usual ?? "";
  tell();
});
addEventListener("beforeunload", (event) => { if (!leaving && form && tell()) event.preventDefault(); });
document.querySelector(".error-text")?.closest("[data-setting]")?.querySelector("input, select")?.scrollIntoView({ block: "center" });
