// @ts-check
/** Captions: saved when the field is left (or with Ctrl+Enter), never over a text that is newer; find and replace with a look before. */
import { Problem, byId, make, renew, say, sayProblem, send, wordsOf } from "./app.js";

const at = location.pathname;
/** @typedef {HTMLTextAreaElement} Field */

/** @param {Field} field @param {string} words @param {string} [tone] */
function state(field, words, tone = "") {
  const place = field.parentElement?.querySelector("[data-state]");
  if (place) place.replaceChildren(make("span", { className: tone, textContent: words }));
}

/** @param {Field} field */
async function save(field) {
  if (field.value === field.dataset.saved || field.dataset.busy) return;
  field.dataset.busy = "yes";
  state(field, "Saving …");
  const text = field.value;
  try {
    const answer = await send(`${at}/${field.dataset.caption}`, { method: "PUT", json: { text, version: field.dataset.version } });
    settle(field, await answer.json());
    state(field, "Saved", "saved");
    await renew("#tools");
  } catch (error) {
    if (error instanceof Problem && error.status === 409) conflict(field, error.body);
    else { state(field, wordsOf(error), "error-text"); field.setAttribute("aria-invalid", "true"); }
  } finally {
    delete field.dataset.busy;
  }
}

/** @param {Field} field @param {Record<string, any>} caption */
function settle(field, caption) {
  field.dataset.version = String(caption.version);
  field.dataset.saved = String(caption.text);
  field.value = String(caption.text);
  field.removeAttribute("aria-invalid");
}

/** @param {Field} field @param {Record<string, any>} body */
function conflict(field, body) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("conflict")), yours = field.value;
  /** @type {HTMLElement} */ (byId("conflict-theirs")).textContent = String(body.now);
  /** @type {HTMLElement} */ (byId("conflict-yours")).textContent = yours;
  state(field, "Not saved: it was changed elsewhere", "lacks");
  /** @type {HTMLElement} */ (byId("keep-theirs")).onclick = () => { settle(field, { text: body.now, version: body.version }); state(field, ""); dialog.close(); };
  /** @type {HTMLElement} */ (byId("keep-yours")).onclick = () => { field.dataset.version = String(body.version); field.dataset.saved = String(body.now); dialog.close(); save(field).catch(sayProblem); };
  dialog.showModal();
}

document.addEventListener("focusout", (event) => {
  if (event.target instanceof HTMLTextAreaElement && event.target.dataset.caption) save(event.target).catch(sayProblem);
});
document.addEventListener("keydown", (event) => {
  const field = event.target;
  if (!(field instanceof HTMLTextAreaElement) || !field.dataset.caption) return;
  if (event.key === "Enter") { event.preventDefault(); save(field).catch(sayProblem); }
  if (event.key === "Escape" && field.value !== field.dataset.saved) { field.value = field.dataset.saved ?? ""; state(field, "As before"); }
});
addEventListener("beforeunload", (event) => {
  const open = document.querySelector("textarea[data-caption]:focus");
  if (open instanceof HTMLTextAreaElement && open.value !== open.dataset.saved) event.preventDefault();
});

const form = /** @type {HTMLFormElement | null} */ (byId("replace-form")), hits = byId("hits"), go = /** @type {HTMLButtonElement | null} */ (byId("replace-all"));
/** @param {string} id */
const field = (id) => /** @type {HTMLInputElement} */ (byId(id));
let turn = 0, timer = 0;

const asked = () => ({ find: field("find").value, by: field("by").value, words: field("words-only").checked, case: field("match-case").checked });

async function look() {
  const now = ++turn, what = asked();
  if (!what.find.trim()) { hits?.replaceChildren(); if (go) go.disabled = true; return; }
  try {
    const html = await (await send(`${at}/find`, { json: what, headers: { Accept: "text/html" } })).text();
    if (now !== turn || !hits) return;
    hits.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    if (go) go.disabled = !hits.querySelector("[data-id]");
  } catch (error) { sayProblem(error); }
}

form?.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 200); });
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const versions = Object.fromEntries([...(hits?.querySelectorAll("[data-id]") ?? [])].map((one) => [one.getAttribute("data-id"), one.getAttribute("data-version")]));
  if (!Object.keys(versions).length) return look();
  try {
    const { changed } = await (await send(`${at}/replace`, { json: { ...asked(), versions } })).json();
    /** @type {HTMLDialogElement | null} */ (byId("replace"))?.close();
    await renew("#rows, #tools");
    say(`${changed} ${changed === 1 ? "caption" : "captions"} changed.`);
  } catch (error) { sayProblem(error); await look(); }
});
document.addEventListener("studio:sent", (event) => {
  if (event.target instanceof HTMLElement && event.target.id === "undo") say(/** @type {CustomEvent} */ (event).detail.words ?? "Undone.");
});
