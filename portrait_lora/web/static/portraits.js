// @ts-check
/** The gallery: further pages as one scrolls, favourites, and what is done with the chosen pictures. */
import { all, byId, say, sayProblem, send } from "./app.js";

const form = /** @type {HTMLFormElement | null} */ (byId("selection"));
/** @type {Set<string>} */
const chosen = new Set();

/** Show how many are chosen, and what can be done with them. */
function tell() {
  if (!form) return;
  form.hidden = chosen.size === 0;
  const count = form.querySelector("[data-chosen]"), pair = /** @type {HTMLButtonElement | null} */ (form.querySelector("[data-compare]"));
  if (count) count.textContent = String(chosen.size);
  if (pair) pair.disabled = chosen.size !== 2;
}

/** Ticks survive a renewed gallery. */
function tick() {
  for (const box of /** @type {HTMLInputElement[]} */ (all("input[name=picture]"))) box.checked = chosen.has(box.value);
  tell();
}

/** @type {IntersectionObserver | null} */
let watch = null;

/** Watch the end of the list, and add the next page before it comes into sight. */
function scroll() {
  watch?.disconnect();
  const list = byId("tiles"), pager = document.querySelector(".pager");
  if (!list || !pager || !document.querySelector("[data-next]")) return;
  let page = Number(list.dataset.page), busy = false;
  const last = Number(list.dataset.pages);
  watch = new IntersectionObserver(async (seen) => {
    if (busy || !seen.some((one) => one.isIntersecting)) return;
    busy = true;
    try {
      const answer = await fetch(`${list.dataset.more}&page=${++page}`, { credentials: "same-origin" });
      if (!answer.ok) throw new Error("The next portraits cannot be shown. Load the page again.");
      const part = document.createElement("template");
      part.innerHTML = await answer.text(); // from this server, whose templates escape everything
      list.append(part.content);
      tick();
      if (page >= last) { watch?.disconnect(); pager.remove(); } else if (watch) { watch.unobserve(pager); watch.observe(pager); }
    } catch (error) { sayProblem(error); watch?.disconnect(); } finally { busy = false; }
  }, { rootMargin: "1600px" });
  watch.observe(pager);
}

document.addEventListener("change", (event) => {
  const box = /** @type {HTMLInputElement} */ (event.target);
  if (box.name !== "picture") return;
  if (box.checked) chosen.add(box.value); else chosen.delete(box.value);
  tell();
});

document.addEventListener("click", async (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const heart = /** @type {HTMLElement | null} */ (target?.closest("[data-like]") ?? null);
  if (heart) {
    const liked = heart.getAttribute("aria-pressed") !== "true";
    heart.setAttribute("aria-pressed", String(liked)); // at once; back if it is refused
    const place = heart.dataset.likeAt ?? byId("tiles")?.dataset.likeAt ?? "";
    send(`${place}${heart.dataset.like}/like`, { json: { liked } }).catch((error) => {
      heart.setAttribute("aria-pressed", String(!liked));
      sayProblem(error);
    });
  }
  if (target?.closest("[data-clear]")) { chosen.clear(); tick(); }
  const pair = /** @type {HTMLElement | null} */ (target?.closest("[data-compare]") ?? null);
  if (pair && chosen.size === 2) {
    const [a, b] = chosen;
    location.assign(`${pair.dataset.compare}?a=${a}&b=${b}`);
  }
});

form?.addEventListener("submit", () => say("The zip is on its way."));
document.addEventListener("studio:renewed", () => { tick(); if (document.querySelector("[data-next]")) scroll(); });
scroll();
tick();
