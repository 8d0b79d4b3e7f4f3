// @ts-check
/**
 * Photos: dropped or chosen, sent one after the other with progress, shown at once; verdicts as the check finds
 * them; removed with a way back; cropped by hand.
 */
import { all, byId, csrf, make, renew, say, sayProblem, send, wordsOf } from "./app.js";

const drop = /** @type {HTMLElement} */ (byId("drop"));
const person = drop.dataset.person ?? "", most = Number(drop.dataset.most), at = `/people/${person}/photos`;
const input = /** @type {HTMLInputElement} */ (byId("files"));
const everything = "#photo-grid, #summary, #consent, #removed";

/** @type {File[]} */
const waiting = [];
let sending = false, added = 0, known = 0;

/** @param {Iterable<File>} files */
function take(files) {
  const list = [...files];
  if (!list.length) return;
  waiting.push(...list);
  const places = byId("uploads");
  if (places) places.hidden = false;
  if (!sending) work().catch(sayProblem);
}

async function work() {
  sending = true;
  added = known = 0;
  addEventListener("beforeunload", warn);
  let refused = 0;
  while (waiting.length) {
    const file = /** @type {File} */ (waiting.shift());
    if (!(await one(file, waiting.length))) refused += 1;
  }
  removeEventListener("beforeunload", warn);
  sending = false;
  await renew(everything);
  const parts = [added && `${added} added`, known && `${known} ${known === 1 ? "was" : "were"} here already`, refused && `${refused} refused`].filter(Boolean);
  say(`${parts.join(", ")}.`, { bad: refused > 0 && !added });
  if (added) {
    await send(`${at}/check`).catch(sayProblem);
    await renew("#checking, #summary");
  }
}

/** @param {BeforeUnloadEvent} event */
function warn(event) { event.preventDefault(); }

/** @param {File} file @param {number} left @returns {Promise<boolean>} */
async function one(file, left) {
  const row = line(file, left);
  if (file.size > most) {
    refuse(row, `${(file.size / 1e6).toFixed(0)} MB is more than the ${(most / 1e6).toFixed(0)} MB that one photo may have. Save a smaller JPEG of it.`);
    return false;
  }
  if (!file.size) { refuse(row, "The file is empty, or a folder. Choose the photos in it."); return false; }
  try {
    const answer = await upload(file, row);
    row.remove();
    if (answer.state === "added") added += 1; else known += 1;
    if (answer.html) place(answer);
    return true;
  } catch (error) {
    refuse(row, wordsOf(error));
    return false;
  }
}

/** @param {File} file @param {number} left */
function line(file, left) {
  const row = make("div", { className: "file" });
  row.append(
    make("span", { className: "name", textContent: file.name }),
    make("span", { className: "soft", textContent: left ? `${left} more` : "" }),
    make("progress", { max: 1, value: 0, ariaLabel: `Sending ${file.name}` }),
  );
  byId("uploads")?.prepend(row);
  return row;
}

/** @param {HTMLElement} row @param {string} why */
function refuse(row, why) {
  row.querySelector("progress")?.remove();
  row.setAttribute("role", "alert");
  const onclick = () => row.remove();
  row.children[1]?.replaceWith(make("button", { type: "button", className: "small plain", textContent: "OK", onclick }));
  row.append(make("p", { className: "why", textContent: why }));
}

/** A request by XMLHttpRequest: fetch tells nothing of the progress of what is sent. @param {File} file @param {HTMLElement} row @returns {Promise<Record<string, any>>} */
function upload(file, row) {
  const bar = row.querySelector("progress");
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("photos", file, file.name);
    request.open("POST", at);
    request.setRequestHeader("X-CSRF-Token", csrf());
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = (event) => { if (bar && event.lengthComputable) { bar.value = event.loaded / event.total; if (event.loaded === event.total) bar.removeAttribute("value"); } };
    request.onerror = () => failed(new Error("The studio does not answer. What was sent before is kept; drop this one again."));
    request.onload = () => {
      /** @type {Record<string, any>} */
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* no JSON: the status says it */ }
      if (request.status < 300) return done(body);
      const what = String(body.what ?? body.detail ?? `The studio answered ${request.status}.`);
      failed(new Error(`${what.charAt(0).toUpperCase()}${what.slice(1)}. ${body.needed ? `Needed: ${body.needed}. ` : ""}${body.remedy ?? ""}`));
    };
    request.send(form);
  });
}

/** The card of a photo that just came, before the others. @param {Record<string, any>} answer */
function place(answer) {
  const fresh = new DOMParser().parseFromString(answer.html, "text/html").body.firstElementChild;
  if (!fresh || byId(`p-${answer.id}`)) return;
  let cards = byId("cards");
  if (!cards) {
    cards = make("div", { id: "cards", className: "photos" });
    byId("photo-grid")?.replaceChildren(cards);
  }
  cards.prepend(document.adoptNode(fresh));
}

input.addEventListener("change", () => { take(input.files ?? []); input.value = ""; });
document.addEventListener("click", async (event) => {
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("#choose, [data-choose]")) input.click();
  const filter = /** @type {HTMLElement | null} */ (target?.closest("[data-filter]") ?? null);
  if (filter) show(filter);
  const gone = /** @type {HTMLElement | null} */ (target?.closest("[data-remove]") ?? null);
  if (gone) remove(gone).catch(sayProblem);
  const cropped = /** @type {HTMLElement | null} */ (target?.closest("[data-crop]") ?? null);
  if (cropped) openCrop(cropped);
});

let depth = 0;
addEventListener("dragenter", (event) => { if (event.dataTransfer?.types.includes("Files")) { depth += 1; drop.classList.add("over"); } });
addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) drop.classList.remove("over"); });
addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
addEventListener("drop", (event) => {
  depth = 0;
  drop.classList.remove("over");
  if (!event.dataTransfer?.files.length || !byId("choose")) return;
  event.preventDefault();
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => { if (event.clipboardData?.files.length && byId("choose")) take(event.clipboardData.files); });

/** @param {HTMLElement} button */
function show(button) {
  const tone = button.dataset.filter ?? "";
  for (const one of all("[data-filter]")) { one.setAttribute("aria-pressed", String(one === button)); one.classList.toggle("plain", one !== button); }
  for (const card of all(".photo")) card.hidden = tone !== "" && card.dataset.tone !== tone && !(tone === "good" && ["held", "warn"].includes(card.dataset.tone ?? ""));
}

/** @param {HTMLElement} button */
async function remove(button) {
  const card = /** @type {HTMLElement} */ (button.closest(".photo")), next = /** @type {HTMLElement | null} */ (card.nextElementSibling ?? card.previousElementSibling);
  const { kept, name } = await (await send(`${at}/${button.dataset.remove}`, { method: "DELETE" })).json();
  next?.querySelector("button")?.focus();
  await renew(everything);
  const back = async () => { await send(`${at}/removed`, { json: { kept } }); await renew(everything); };
  say(`${name} was removed. It is kept in a folder of its own.`, { action: "Undo", act: () => back().catch(sayProblem) });
}

byId("forget-name")?.addEventListener("input", (event) => {
  const field = /** @type {HTMLInputElement} */ (event.target), button = /** @type {HTMLButtonElement} */ (byId("forget-now"));
  button.disabled = field.value.trim() !== field.dataset.same;
});

// verdicts as the check finds them
document.addEventListener("studio:job", (event) => {
  const { kind, data } = /** @type {CustomEvent} */ (event).detail;
  if (kind !== "metric" || data.name !== "photo") return;
  const card = all(".photo").find((one) => one.dataset.name === data.file), chip = card?.querySelector("[data-verdict] .chip");
  if (!card || !chip) return;
  chip.className = `chip ${data.tone}`;
  chip.textContent = data.words;
});

// the crop: a frame over the whole, turned photo, in fractions of it
const dialog = /** @type {HTMLDialogElement | null} */ (byId("crop")), frame = byId("crop-frame"), image = /** @type {HTMLImageElement | null} */ (byId("crop-image"));
let box = [0, 0, 1, 1], photo = "";
const LEAST = 0.05;

/** @param {HTMLElement} button */
function openCrop(button) {
  if (!dialog || !image) return;
  photo = button.dataset.crop ?? "";
  box = (button.dataset.box ?? "0 0 1 1").split(" ").map(Number);
  image.src = button.dataset.whole ?? "";
  draw();
  dialog.showModal();
  frame?.focus();
}

function draw() {
  if (!frame) return;
  const [x0, y0, x1, y1] = /** @type {[number, number, number, number]} */ (box);
  Object.assign(frame.style, { left: `${x0 * 100}%`, top: `${y0 * 100}%`, width: `${(x1 - x0) * 100}%`, height: `${(y1 - y0) * 100}%` });
  const words = byId("crop-words");
  if (words) words.textContent = `${Math.round((x1 - x0) * 100)} percent of the width, ${Math.round((y1 - y0) * 100)} percent of the height`;
}

/** Move or size the frame; `corner` "" moves it. @param {string} corner @param {number} dx @param {number} dy @param {number[]} from */
function change(corner, dx, dy, from) {
  const [x0, y0, x1, y1] = /** @type {[number, number, number, number]} */ (from);
  /** @param {number} v @param {number} low @param {number} high */
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  if (!corner) {
    const x = clamp(dx, -x0, 1 - x1), y = clamp(dy, -y0, 1 - y1);
    box = [x0 + x, y0 + y, x1 + x, y1 + y];
  } else {
    box = [
      corner.includes("w") ? clamp(x0 + dx, 0, x1 - LEAST) : x0, corner.includes("n") ? clamp(y0 + dy, 0, y1 - LEAST) : y0,
      corner.includes("e") ? clamp(x1 + dx, x0 + LEAST, 1) : x1, corner.includes("s") ? clamp(y1 + dy, y0 + LEAST, 1) : y1,
    ];
  }
  draw();
}

frame?.addEventListener("pointerdown", (event) => {
  const corner = event.target instanceof HTMLElement ? (event.target.dataset.corner ?? "") : "", from = box, x = event.clientX, y = event.clientY;
  const size = image?.getBoundingClientRect();
  if (!size) return;
  event.preventDefault();
  frame.setPointerCapture(event.pointerId);
  /** @param {PointerEvent} moved */
  const move = (moved) => change(corner, (moved.clientX - x) / size.width, (moved.clientY - y) / size.height, from);
  frame.addEventListener("pointermove", move);
  frame.addEventListener("pointerup", () => frame.removeEventListener("pointermove", move), { once: true });
});
frame?.addEventListener("keydown", (event) => {
  const way = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] })[event.key];
  if (!way) return;
  event.preventDefault();
  change(event.shiftKey ? "se" : "", way[0] * 0.01, way[1] * 0.01, box);
});
byId("crop-whole")?.addEventListener("click", () => { box = [0, 0, 1, 1]; draw(); });
byId("crop-save")?.addEventListener("click", async () => {
  const whole = box.join() === "0,0,1,1";
  try {
    await send(`${at}/${photo}/crop`, { json: { box: whole ? null : box.map((v) => Number(v.toFixed(4))) } });
    dialog?.close();
    await renew(`#p-${photo}, #summary`);
    say(whole ? "The whole photo is used." : "Cropped. The file itself stays as it is.");
  } catch (error) { sayProblem(error); }
});
