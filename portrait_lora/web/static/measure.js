// @ts-check
/** Pictures from other tools: dropped onto the form, and how many there are. */
import { byId } from "./app.js";

/** @param {HTMLInputElement} input */
function count(input) {
  const words = input.form?.querySelector("[data-count]"), n = input.files?.length ?? 0;
  if (words) words.textContent = n ? `${n} picture${n === 1 ? "" : "s"} chosen` : "";
}

document.addEventListener("change", (event) => {
  const input = /** @type {HTMLInputElement} */ (event.target);
  if (input.id === "judge-files") count(input);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    const zone = event.target instanceof Element ? event.target.closest(".drop-zone") : null;
    if (kind !== "dragleave") event.preventDefault(); // a file that misses the form does not replace the page
    for (const one of document.querySelectorAll(".drop-zone")) one.classList.toggle("over", one === zone && kind === "dragover");
    const input = /** @type {HTMLInputElement | null} */ (byId("judge-files")), files = /** @type {DragEvent} */ (event).dataTransfer?.files;
    if (kind === "drop" && zone && input && files?.length) { input.files = files; count(input); }
  });
}
