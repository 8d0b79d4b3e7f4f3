// @ts-check
/** The canvas: a brush over the portrait, layers on and off, and edits sent with what was painted. */
import { all, byId, renew, say, sayProblem, send } from "./app.js";
import "./portraits.js";

/** One stroke: points in pixels of the picture. @typedef {{erase: boolean, size: number, points: [number, number][]}} Stroke */

/** @type {Stroke[]} */
let strokes = [];
let painting = false, erasing = false;

/** @param {string} id */
const button = (id) => /** @type {HTMLButtonElement | null} */ (byId(id));
const surface = () => /** @type {HTMLCanvasElement | null} */ (byId("paint"));

/** Draw all strokes in a colour. @param {HTMLCanvasElement} canvas @param {string} colour */
function redraw(canvas, colour) {
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.globalCompositeOperation = "source-over";
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = pen.fillStyle = colour;
  for (const stroke of strokes) {
    pen.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    pen.lineWidth = stroke.size;
    pen.beginPath();
    const [first, ...rest] = stroke.points;
    pen.moveTo(...first);
    for (const point of rest.length ? rest : [/** @type {[number, number]} */ ([first[0] + .01, first[1]])]) pen.lineTo(...point);
    pen.stroke();
  }
}

/** Show the strokes, and what can be done with them. */
function show() {
  const canvas = surface();
  if (!canvas) return;
  redraw(canvas, "rgb(32 190 200 / .62)");
  const some = strokes.length > 0, painted = /** @type {HTMLInputElement | null} */ (byId("painted"));
  for (const id of ["unpaint", "clear"]) { const one = button(id); if (one) one.disabled = !some; }
  if (!painted) return;
  painted.disabled = !some;
  if (some) painted.checked = true;
  else if (painted.checked) /** @type {HTMLInputElement | null} */ (document.querySelector("input[name=region]"))?.click();
}

/** @param {boolean} on */
function brush(on) {
  const canvas = surface(), easel = byId("easel");
  if (!canvas || !easel) return;
  painting = on;
  if (canvas.width !== Number(easel.dataset.width)) { canvas.width = Number(easel.dataset.width); canvas.height = Number(easel.dataset.height); }
  canvas.hidden = !on && !strokes.length;
  canvas.classList.toggle("off", !on);
  button("brush")?.setAttribute("aria-pressed", String(on && !erasing));
  button("erase")?.setAttribute("aria-pressed", String(on && erasing));
  for (const id of ["erase", "size"]) { const one = button(id); if (one) one.disabled = !on; }
  show();
}

/** Where a pointer is, in pixels of the picture. @param {PointerEvent} event @param {HTMLCanvasElement} canvas @returns {[number, number]} */
function place(event, canvas) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
}

/** @type {Stroke | null} */
let current = null;
document.addEventListener("pointerdown", (event) => {
  const canvas = surface();
  if (!painting || !canvas || event.target !== canvas || event.button) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  const share = Number(/** @type {HTMLInputElement | null} */ (byId("size"))?.value ?? 9) / 100;
  current = { erase: erasing, size: Math.max(2, share * Math.min(canvas.width, canvas.height)), points: [place(event, canvas)] };
  strokes.push(current);
  show();
});
document.addEventListener("pointermove", (event) => {
  const canvas = surface();
  if (!current || !canvas) return;
  for (const one of event.getCoalescedEvents?.() ?? [event]) current.points.push(place(one, canvas));
  redraw(canvas, "rgb(32 190 200 / .62)");
});
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { current = null; });

/** What was painted as base64 of a PNG in black and white; "" where nothing is left of it. */
function mask() {
  const easel = byId("easel"), canvas = document.createElement("canvas");
  canvas.width = Number(easel?.dataset.width);
  canvas.height = Number(easel?.dataset.height);
  redraw(canvas, "#fff");
  const pen = canvas.getContext("2d");
  if (!pen) return "";
  const dots = pen.getImageData(0, 0, canvas.width, canvas.height);
  let some = false;
  for (let i = 0; i < dots.data.length; i += 4) {
    const on = dots.data[i + 3] > 127;
    some ||= on;
    dots.data[i] = dots.data[i + 1] = dots.data[i + 2] = on ? 255 : 0;
    dots.data[i + 3] = 255;
  }
  pen.putImageData(dots, 0, 0);
  return some ? canvas.toDataURL("image/png").split(",")[1] : "";
}

/** @param {HTMLFormElement} form */
function changes(form) {
  /** @type {Record<string, string>} */
  const words = {};
  for (const field of /** @type {HTMLInputElement[]} */ (all("[data-change]", form))) if (field.value.trim()) words[field.dataset.change ?? ""] = field.value.trim();
  return words;
}

/** @param {HTMLFormElement} form @param {string} name */
const value = (form, name) => Number(/** @type {HTMLInputElement | null} */ (form.querySelector(`[name="${name}"]`))?.value);

/** @param {HTMLFormElement} form */
function fixBody(form) {
  const region = /** @type {HTMLInputElement | null} */ (form.querySelector("input[name=region]:checked"))?.value ?? "";
  const painted = region === "painted" ? mask() : "";
  if (region === "painted" && !painted) throw new Error("Nothing is painted any more. Paint over what is to be drawn again, or choose a part.");
  const keep = /** @type {HTMLInputElement | null} */ (form.querySelector("[name=keep]"))?.checked ?? false;
  return { ...(painted ? { mask_png: painted } : { region }), strength: value(form, "strength"), tries: value(form, "tries"), changes: changes(form), keep };
}

document.addEventListener("submit", async (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const fixing = "fix" in form.dataset;
  if (!fixing && !("vary" in form.dataset)) return;
  event.preventDefault();
  try {
    const json = fixing ? fixBody(form) : { strength: value(form, "vary-strength"), count: value(form, "count"), changes: changes(form) };
    await send(form.action, { json });
    say(fixing ? "Drawing it again is in the queue." : "The variations are in the queue.");
    if (fixing) { strokes = []; brush(false); }
    await renew("#now");
  } catch (error) { sayProblem(error); }
});

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target.closest("button") : null;
  if (target?.id === "brush") { const on = !(painting && !erasing); erasing = false; brush(on); }
  if (target?.id === "erase") { erasing = !erasing; brush(true); }
  if (target?.id === "unpaint") { strokes.pop(); show(); }
  if (target?.id === "clear") { strokes = []; show(); }
});
document.addEventListener("change", (event) => {
  const box = /** @type {HTMLInputElement} */ (event.target);
  if (!box.dataset.toggle) return;
  for (const layer of all(`[data-layer="${box.dataset.toggle}"]`)) layer.hidden = !box.checked;
});
document.addEventListener("studio:renewed", () => brush(painting));
