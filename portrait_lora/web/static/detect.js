// @ts-check
/** Pictures that are looked at for marks, one after the other; nothing of them is kept. */
import { byId, drops, make, say, send, wordsOf } from "./app.js";

const form = /** @type {HTMLFormElement | null} */ (byId("look"));
const input = /** @type {HTMLInputElement | null} */ (byId("look-files"));
const cards = /** @type {HTMLElement} */ (byId("cards")), looked = /** @type {HTMLElement} */ (byId("looked"));
/** @type {Promise<void>} */
let line = Promise.resolve();

/** The card of a picture while it is looked at. @param {File} file */
function waiting(file) {
  const image = make("img", { alt: "", src: URL.createObjectURL(file) });
  image.onerror = () => image.remove(); // what no browser shows can still be looked at
  image.onload = () => URL.revokeObjectURL(image.src);
  const card = make("li", { className: "panel marked" }), [shown, body] = ["shown", "body"].map((className) => make("div", { className }));
  shown.append(image);
  body.append(make("h3", { textContent: file.name }), make("progress", { ariaLabel: `Looking at ${file.name}` }));
  card.append(shown, body);
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
    card.querySelector("progress")?.replaceWith(make("p", { className: "error-text", textContent: wordsOf(error) }));
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
if (form) drops(take);
