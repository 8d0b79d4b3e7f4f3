// @ts-check
/** The prompt book: shots added and copied, and the linter's remarks beside each while one writes. */
import { all, ask, byId, make, say, sayProblem, send, wordsOf } from "./app.js";

const form = /** @type {HTMLFormElement} */ (byId("book"));
/** @param {ParentNode} root @param {string} selector */
const field = (root, selector) => /** @type {HTMLInputElement} */ (root.querySelector(selector));

/** @param {ParentNode} root */
function layers(root) {
  /** @type {Record<string, string>} */
  const words = {};
  for (const one of /** @type {HTMLInputElement[]} */ (all("[data-layer-name]", root))) if (one.value.trim()) words[one.dataset.layerName ?? ""] = one.value.trim();
  return words;
}

/** The series as it is written now. */
function draft() {
  const shots = all("#shots [data-shot]").map((shot) => {
    const begun = field(shot, "[data-template]").value, count = field(shot, "[data-count]").valueAsNumber;
    return {
      name: field(shot, "[data-name]").value, template: begun === "*" ? "" : begun, layers: layers(shot),
      prompt: begun === "*" ? field(shot, "[data-prompt]").value : "", ...(Number.isNaN(count) ? {} : { count }),
    };
  });
  return {
    name: field(document, "#name").value, aspect: field(document, "#aspect").value, seed: field(document, "#seed").valueAsNumber || 0,
    negative_prompt: field(document, "#negative").value, locked: layers(/** @type {HTMLElement} */ (byId("locked"))), shots,
  };
}

/** @param {keyof HTMLElementTagNameMap} tag @param {string} text @param {string} [kind] */
function element(tag, text, kind = "") {
  return make(tag, { textContent: text, className: kind });
}

let turn = 0;
/** Ask the linter, and write its remarks beside the shots. */
async function check() {
  const mine = ++turn, verdict = byId("verdict");
  number();
  try {
    const found = await (await send(form.dataset.check ?? "", { json: draft() })).json();
    if (mine !== turn || !verdict) return;
    const shots = all("#shots [data-shot]");
    for (const shot of shots) shot.querySelector("[data-remarks]")?.replaceChildren();
    let remarks = 0, last = -1, at = -1;
    for (const row of found.prompts) {
      const own = Number.parseInt(row.where, 10) - 1; // pictures are called 01-name, 01-name-2 …
      if (own === last) continue;
      last = own; at = own;
      const place = shots[at]?.querySelector("[data-remarks]");
      place?.append(element("p", row.prompt, "prompt"));
      for (const remark of row.remarks) {
        remarks += 1;
        const line = element("p", "", "remark");
        line.append(element("b", remark.said), ` ${remark.instead}`);
        place?.append(line);
      }
    }
    const words = found.error || (remarks ? `${remarks} remark${remarks === 1 ? "" : "s"}: nothing forbids drawing, but better words draw better.` : `${found.prompts.length} picture${found.prompts.length === 1 ? "" : "s"} of ${shots.length} shot${shots.length === 1 ? "" : "s"}. The linter has nothing to say.`);
    verdict.replaceChildren(element("p", words, found.error ? "error-text" : ""));
  } catch (error) {
    if (mine === turn) verdict?.replaceChildren(element("p", wordsOf(error), "error-text"));
  }
}

/** Headings, and own words only where they are chosen. */
function number() {
  all("#shots [data-shot]").forEach((shot, i) => {
    const title = shot.querySelector("[data-shot-title]"), words = /** @type {HTMLElement | null} */ (shot.querySelector(".own-words"));
    if (title) title.textContent = field(shot, "[data-name]").value || `Shot ${i + 1}`;
    if (words) words.hidden = field(shot, "[data-template]").value !== "*";
  });
}

let timer = 0;
const soon = () => { clearTimeout(timer); timer = window.setTimeout(check, 450); };
form.addEventListener("input", soon);
form.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target.closest("button") : null;
  const shot = target?.closest("[data-shot]"), list = byId("shots");
  if (target?.id === "add-shot") {
    const fresh = /** @type {DocumentFragment} */ (/** @type {HTMLTemplateElement} */ (byId("shot")).content.cloneNode(true));
    list?.append(fresh);
    field(/** @type {HTMLElement} */ (list?.lastElementChild), "[data-name]").focus();
    soon();
  }
  if (shot && target?.matches("[data-copy-shot]")) {
    const copy = /** @type {HTMLElement} */ (shot.cloneNode(true)), from = /** @type {HTMLSelectElement[]} */ (all("select, textarea", shot));
    /** @type {HTMLSelectElement[]} */ (all("select, textarea", copy)).forEach((one, i) => { one.value = from[i].value; });
    field(copy, "[data-name]").value += field(copy, "[data-name]").value ? " copy" : "";
    shot.after(copy);
    soon();
  }
  if (shot && target?.matches("[data-drop-shot]")) {
    if (all("#shots [data-shot]").length === 1) say("A series has one shot at least.");
    else { shot.remove(); soon(); }
  }
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = /** @type {HTMLElement | null} */ (event.submitter), draw = button?.hasAttribute("data-draw") ?? true;
  const keep = (/** @type {boolean} */ replace) => send(form.dataset.save ?? "", { json: { draft: draft(), draw, replace } });
  try {
    const answer = await keep(false).catch(async (error) => {
      const taken = String(error?.body?.needed ?? "").includes("a yes to replacing");
      if (!taken || !(await ask("There is a series of this name. Replace it? Its portraits are drawn anew; those that are not in it any more go.", "Replace it"))) throw error;
      return keep(true);
    });
    const body = await answer.json();
    location.assign(draw ? `${form.dataset.done}${encodeURIComponent(body.series)}` : `?begin=${encodeURIComponent(body.series)}`);
  } catch (error) { sayProblem(error); }
});

check();
