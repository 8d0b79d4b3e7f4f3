// @ts-check
/** Parts that are loaded when the page is there (the plan, the doctor), and the slider between checkpoints. */
import { all, byId, renew, sayProblem } from "./app.js";

for (const place of all("[data-load]")) renew(`#${place.id}`, place.dataset.load).catch(sayProblem);

/** The step that was chosen on the slider; none while the latest is shown. */
let chosen = "";

/** Show the probes of one checkpoint, and let the others go. @param {HTMLInputElement} slider */
function show(slider) {
  for (const probe of all("[data-at]")) probe.hidden = probe.dataset.at !== slider.value;
}

document.addEventListener("input", (event) => {
  const slider = /** @type {HTMLInputElement} */ (event.target);
  if (slider.id !== "checkpoint") return;
  chosen = slider.value === slider.max ? "" : slider.value;
  show(slider);
});

document.addEventListener("studio:renewed", () => {
  const slider = /** @type {HTMLInputElement | null} */ (byId("checkpoint"));
  if (!slider || !chosen || slider.value === chosen) return;
  slider.value = chosen;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
});

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? /** @type {HTMLElement | null} */ (event.target.closest("[data-load-again]")) : null;
  if (!button) return;
  button.setAttribute("aria-disabled", "true");
  renew("#checks", button.dataset.loadAgain).catch(sayProblem).finally(() => button.removeAttribute("aria-disabled"));
});
