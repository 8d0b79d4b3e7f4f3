// @ts-check
/** Pictures that are looked at for marks, one request after the other; nothing of them is kept anywhere. */
import { Problem, all, byId, say, send } from "./app.js";

const form = /** @type {HTMLFormElement | null} */ (byId("look"));
const input = /** @type {HTMLInputElement | null} */ (byId("look-files"));
const cards = /** @type {HTMLElement} */ (byId("cards")), looked = /** @type {HTMLElement} */ (byId("looked"));
/** @type {Promise<void>} */
let line = Promise.resolve();

/** The card of a picture while it is looked at. @param {File} file */
function waiting(file) {
  const card = Object.assign(document.createElement("li"), { className: "panel marked" });
  const shown = Object.assign(document.createElement("div"), { className: "shown" });
  const body = Object.assign(document.createElement("div"), { className: "body" });
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", `Looking at ${file.name}`);
  body.append(Object.assign(document.createElement("h3"), { textContent: file.name }), bar);
  card.append(shown, body);
  const image = Object.assign(document.createElement("img"), { alt: "", src: URL.createObjectURL(file) });
  image.addEventListener("error", () => image.remove()); // what no browser shows can still be looked at
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  shown.append(image);
  return card;
}

/** @param {File} file @param {HTMLElement} card */
async function look(file, card) {
  if (!card.isConnected) return; // cleared meanwhile
  const body = new FormData();
  body.append("files", file);
  try {
    const answer = await send("/detect", { body, headers: { Accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("li .body");
    if (fresh) card.querySelector(".body")?.replaceWith(document.adoptNode(fresh));
  } catch (error) {
    const words = Object.assign(document.createElement("p"), { className: "error-text", textContent: error instanceof Problem ? error.message : String(error) });
    card.querySelector("progress")?.replaceWith(words);
  }
}

/** @param {FileList | null | undefined} files */
function take(files) {
  const most = Number(form?.dataset.most ?? 0), bytes = Number(form?.dataset.bytes ?? 0), chosen = [...(files ?? [])];
  if (chosen.length > most) say(`The first ${most} of ${chosen.length} are looked at.`);
  for (const file of chosen.slice(0, most)) {
    if (file.size > bytes) { say(`${file.name} has more than ${Math.round(bytes / 1e6)} MB.`, { bad: true }); continue; }
    looked.hidden = false;
    const card = waiting(file);
    cards.append(card);
    line = line.then(() => look(file, card));
  }
  if (input) input.value = "";
}

form?.addEventListener("submit", (event) => event.preventDefault());
input?.addEventListener("change", () => take(input.files));
byId("clear")?.addEventListener("click", () => { cards.replaceChildren(); looked.hidden = true; input?.focus(); });
document.addEventListener("paste", (event) => { if (form) take(event.clipboardData?.files); });
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    const over = event.target instanceof Element && event.target.closest(".drop-zone");
    if (kind !== "dragleave") event.preventDefault(); // a file that misses the form does not replace the page
    for (const zone of all(".drop-zone")) zone.classList.toggle("over", kind === "dragover" && !!over);
    if (kind === "drop" && form) take(/** @type {DragEvent} */ (event).dataTransfer?.files);
  });
}
