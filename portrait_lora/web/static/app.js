// @ts-check
/**
 * What every page of the studio can do: send without leaving the page, follow a job, open dialogs, keys, theme.
 *
 * Pages say it in attributes; a page's own script imports from here.
 *   data-post=URL        a button that sends (with data-method, data-json, data-confirm, data-say, data-renew, data-go)
 *   form data-send       a form that is sent by fetch: "form" (multipart) or "json"; same attributes
 *   data-renew=SELECTOR  these elements (with ids) are taken anew from the page after it was sent, or the job has ended
 *   data-every=MS        this element (with an id) is taken anew so often while the page is seen (data-from=URL: from there)
 *   data-job=ID          its progress and [data-words] follow the job's events
 *   data-open / data-close, data-key="g p", data-slider, data-before-after, data-theme-switch
 */

/** @typedef {{title?: string, detail?: string, what?: string, where?: string, got?: string, needed?: string, remedy?: string, status?: number, [key: string]: unknown}} ProblemBody */

/** @param {string} selector @param {ParentNode} [root] @returns {HTMLElement[]} */
export const all = (selector, root = document) => /** @type {HTMLElement[]} */ ([...root.querySelectorAll(selector)]);
/** @param {string} id @returns {HTMLElement | null} */
export const byId = (id) => document.getElementById(id);
/** @type {<K extends keyof HTMLElementTagNameMap>(tag: K, properties?: object) => HTMLElementTagNameMap[K]} */
export const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

/** The answer of the server to something that it refuses (RFC 9457). */
export class Problem extends Error {
  /** @param {ProblemBody} body @param {number} status */
  constructor(body, status) {
    super(problemWords(body, status));
    this.body = body;
    this.status = status;
  }
}

/** @param {ProblemBody} body @param {number} status */
function problemWords(body, status) {
  const what = body.what || body.detail || body.title || `The studio answered ${status}.`;
  const got = body.got ? ` (${body.got})` : "";
  const needed = body.needed ? ` Needed: ${body.needed}.` : "";
  const first = String(what) + got;
  return `${first.charAt(0).toUpperCase()}${first.slice(1)}${/[.!?]$/.test(first) ? "" : "."}${needed} ${body.remedy || ""}`.trim();
}

export const csrf = () => document.querySelector('meta[name="csrf"]')?.getAttribute("content") ?? "";

/**
 * Send to the studio, with the page's token. Resolves with the answer, rejects with a `Problem`.
 * @param {string} url
 * @param {{method?: string, body?: BodyInit | null, json?: unknown, headers?: Record<string, string>}} [how]
 * @returns {Promise<Response>}
 */
export async function send(url, how = {}) {
  /** @type {Record<string, string>} */
  const headers = { "X-CSRF-Token": csrf(), Accept: "application/json", ...how.headers };
  const json = "json" in how && how.json !== undefined;
  if (json) headers["Content-Type"] = "application/json";
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(url, { method: how.method ?? "POST", headers, body: json ? JSON.stringify(how.json) : (how.body ?? null), credentials: "same-origin" });
  } catch {
    throw new Problem({ what: "the studio does not answer", remedy: "Is `portrait-lora web` still running? Nothing that was sent before is lost." }, 0);
  }
  if (answer.ok) return answer;
  throw new Problem(await answer.json().catch(() => ({})), answer.status);
}

/**
 * Words at the foot of the page, read out by screen readers.
 * @param {string} text
 * @param {{bad?: boolean, action?: string, act?: () => void}} [how]
 */
export function say(text, how = {}) {
  const word = make("div", { className: how.bad ? "word bad" : "word" });
  word.append(make("span", { textContent: text }));
  if (how.action) {
    const onclick = () => { word.remove(); how.act?.(); };
    word.append(make("button", { type: "button", textContent: how.action, onclick }));
  }
  byId("words")?.append(word);
  setTimeout(() => word.remove(), how.bad || how.action ? 12000 : 5000);
}

/** @param {unknown} error */
export const sayProblem = (error) => say(wordsOf(error), { bad: true });
/** @param {unknown} error */
export const wordsOf = (error) => (error instanceof Error ? error.message : String(error));

/** Ask in a dialog. @param {string} text @param {string} [yes] @returns {Promise<boolean>} */
export function ask(text, yes = "Go on") {
  const dialog = /** @type {HTMLDialogElement} */ (byId("confirm"));
  const button = /** @type {HTMLButtonElement} */ (byId("confirm-yes"));
  /** @type {HTMLElement} */ (byId("confirm-text")).textContent = text;
  button.textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  button.onclick = () => dialog.close("yes");
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

let renewing = 0;

/**
 * Take the elements of `selector` (each with an id) anew from the page; the focus stays where it was.
 * @param {string} selector
 * @param {string} [url]
 */
export async function renew(selector, url = location.href) {
  const turn = ++renewing;
  const answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok || (turn !== renewing && selector === "#main")) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of all(selector)) {
    const fresh = old.id ? page.getElementById(old.id) : null;
    if (!fresh) { if (old.id) old.replaceChildren(); continue; }
    swap(old, document.adoptNode(fresh));
  }
}

/** @param {HTMLElement} old @param {HTMLElement} fresh */
export function swap(old, fresh) {
  if (old.outerHTML === fresh.outerHTML) return;
  const focused = document.activeElement?.id;
  const inside = focused && old.contains(document.activeElement);
  for (const image of all("img[src]", fresh)) { // a picture that is there already does not flicker
    const same = all(`img[src="${CSS.escape(image.getAttribute("src") ?? "")}"]`, old)[0];
    if (same && image.className === same.className && image.getAttribute("alt") === same.getAttribute("alt")) image.replaceWith(same);
  }
  old.replaceWith(fresh);
  forgetGone();
  if (inside) byId(focused)?.focus({ preventScroll: true });
  ready(fresh);
  document.dispatchEvent(new CustomEvent("studio:renewed", { detail: fresh }));
}

/**
 * Follow a job until it has ended. A page that is not seen lets go of its connection: a browser has six of them
 * for all its tabs.
 * @param {string} id
 * @param {(kind: string, data: Record<string, any>) => void} tell
 * @param {number} [after]
 * @param {() => void} [refused] the studio does not tell: look again now and then instead
 * @returns {{close: () => void}}
 */
export function follow(id, tell, after = 0, refused = () => {}) {
  /** @type {EventSource | null} */
  let source = null;
  let last = String(after), over = false;
  const pause = () => { source?.close(); source = null; };
  const close = () => { over = true; pause(); document.removeEventListener("visibilitychange", look); };
  const look = () => { if (document.hidden) pause(); else open(); };
  const open = () => {
    if (over || source) return;
    const opened = source = new EventSource(`/v1/jobs/${id}/events?after=${last}`);
    opened.addEventListener("error", () => { if (opened.readyState === EventSource.CLOSED && source === opened) { close(); refused(); } });
    for (const kind of ["state", "progress", "log", "metric", "result", "message", "end"]) {
      opened.addEventListener(kind, (event) => {
        const message = /** @type {MessageEvent} */ (event), raw = JSON.parse(message.data || "{}"), data = raw.data ?? raw;
        last = message.lastEventId || last;
        if (["succeeded", "failed", "cancelled"].includes(data.state)) close();
        tell(raw.kind ?? kind, data);
      });
    }
  };
  document.addEventListener("visibilitychange", look);
  look();
  return { close };
}

/** Progress as a fraction 0..1, or null. @param {Record<string, any>} data */
export function fraction(data) {
  if (typeof data.fraction === "number") return data.fraction;
  const { done, total } = data;
  return typeof done === "number" && typeof total === "number" && total > 0 ? done / total : null;
}

/** `train · 40 of 400 · loss 0.12 · 2 min left`. @param {Record<string, any>} data */
export function progressWords(data) {
  const { label, stage, done, total, left_s: left, ...rest } = data;
  const count = typeof done === "number" && typeof total === "number" ? `${Math.round(done)} of ${Math.round(total)}` : "";
  const fields = Object.entries(rest.fields ?? rest).filter(([, value]) => ["number", "string"].includes(typeof value))
    .map(([name, value]) => `${name} ${typeof value === "number" ? Number(value.toPrecision(3)) : value}`);
  const time = typeof left !== "number" || done === 0 || done >= total ? "" : left > 90 ? `${Math.round(left / 60)} min left` : `${Math.round(left)} s left`;
  return [label ?? stage, count, ...fields, time].filter(Boolean).join(" · ");
}

/** What is followed by which part of the page: a browser has few connections to one server. @type {Map<HTMLElement, EventSource>} */
const followed = new Map();
function forgetGone() {
  for (const [place, source] of followed) if (!place.isConnected) { source.close(); followed.delete(place); }
}

/** @param {HTMLElement} place */
function followHere(place) {
  if (place.dataset.followed) return;
  place.dataset.followed = "yes";
  const bar = /** @type {HTMLProgressElement | null} */ (place.querySelector("progress"));
  const words = place.querySelector("[data-words]");
  const source = follow(place.dataset.job ?? "", (kind, data) => {
    if (!place.isConnected) return source.close();
    if (kind === "progress") {
      const share = fraction(data);
      if (bar && share !== null) bar.value = share; else bar?.removeAttribute("value");
      if (words) words.textContent = progressWords(data) || words.textContent;
    }
    place.dispatchEvent(new CustomEvent("studio:job", { detail: { kind, data }, bubbles: true }));
    if (kind === "state" && ["succeeded", "failed", "cancelled", "interrupted"].includes(data.state)) {
      if (place.dataset.go && data.state === "succeeded") location.assign(place.dataset.go);
      else if (place.dataset.renew) renew(place.dataset.renew).catch(sayProblem);
    }
  }, Number(place.dataset.after ?? 0), () => setTimeout(() => {
    if (place.isConnected && place.dataset.renew) renew(place.dataset.renew).catch(() => {});
  }, 3000));
  followed.set(place, source);
}

/** @param {HTMLElement} place the button or form that was used */
async function sent(place, /** @type {Promise<Response>} */ answer) {
  place.setAttribute("aria-disabled", "true");
  try {
    const got = await answer;
    const body = got.headers.get("Content-Type")?.includes("json") ? await got.json() : {};
    if (place.dataset.say) say(place.dataset.say);
    place.dispatchEvent(new CustomEvent("studio:sent", { detail: body, bubbles: true }));
    const dialog = place.closest("dialog");
    if (dialog) dialog.close();
    if (place.dataset.go) location.assign(place.dataset.go.replace("{id}", String(body.id ?? "")));
    else if (place.dataset.renew) await renew(place.dataset.renew);
  } catch (error) {
    const spot = place.querySelector("[data-problem]");
    if (spot) { spot.textContent = wordsOf(error); spot.setAttribute("role", "alert"); } else sayProblem(error);
    place.dispatchEvent(new CustomEvent("studio:refused", { detail: error, bubbles: true }));
  } finally {
    place.removeAttribute("aria-disabled");
  }
}

/** The fields of a form as JSON; a name ending in [] is a list, checkboxes are booleans, numbers numbers. @param {HTMLFormElement} form */
export function jsonOf(form) {
  /** @type {Record<string, unknown>} */
  const body = {};
  for (const element of form.elements) {
    const field = /** @type {HTMLInputElement} */ (element);
    if (!field.name || field.disabled || field.name === "csrf") continue;
    const many = field.name.endsWith("[]"), name = many ? field.name.slice(0, -2) : field.name;
    if ((many || field.type === "radio") && !field.checked && (field.type === "checkbox" || field.type === "radio")) { if (many) body[name] ??= []; continue; }
    const value = field.type === "checkbox" && !many ? field.checked : field.type === "number" || field.type === "range" ? (field.value === "" ? null : field.valueAsNumber) : field.value;
    if (many) /** @type {unknown[]} */ (body[name] ??= []).push(value); else body[name] = value;
  }
  return body;
}

document.addEventListener("click", async (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const opener = target?.closest("[data-open]"), closer = target?.closest("[data-close]");
  if (opener) /** @type {HTMLDialogElement | null} */ (byId(opener.getAttribute("data-open") ?? ""))?.showModal();
  if (closer) closer.closest("dialog")?.close();
  if (target?.tagName === "DIALOG") /** @type {HTMLDialogElement} */ (target).close(); // a click beside it
  if (target?.closest("[data-theme-switch]")) switchTheme();
  const button = /** @type {HTMLElement | null} */ (target?.closest("[data-post]") ?? null);
  if (!button || button.getAttribute("aria-disabled") === "true") return;
  event.preventDefault();
  if (button.dataset.confirm && !(await ask(button.dataset.confirm, button.dataset.yes))) return;
  const json = button.dataset.json ? JSON.parse(button.dataset.json) : undefined;
  await sent(button, send(button.dataset.post ?? "", { method: button.dataset.method ?? "POST", json }));
});

document.addEventListener("submit", async (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (!form.dataset.send) return;
  event.preventDefault();
  if (form.getAttribute("aria-disabled") === "true") return;
  if (form.dataset.confirm && !(await ask(form.dataset.confirm, form.dataset.yes))) return;
  const method = form.dataset.method ?? "POST", action = form.getAttribute("action") ?? location.href;
  await sent(form, send(action, form.dataset.send === "json" ? { method, json: jsonOf(form) } : { method, body: new FormData(form) }));
});

function switchTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches, root = document.documentElement;
  const next = (root.dataset.theme ?? (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
  const system = next === (dark ? "dark" : "light"); // what the system says anyway is not kept
  if (system) delete root.dataset.theme; else root.dataset.theme = next;
  document.cookie = `theme=${system ? "" : next}; path=/; max-age=${system ? 0 : 31536000}; samesite=strict`;
  say(next === "dark" ? "Dark" : "Light");
}

let first = "";
document.addEventListener("keydown", (event) => {
  const at = event.target instanceof Element ? event.target : null;
  const typing = at?.closest("input:not([type=range],[type=checkbox],[type=radio]), textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || localStorage.getItem("keys") === "off") return;
  if (document.querySelector("dialog[open]")) return;
  const keys = first ? `${first} ${event.key}` : event.key;
  const found = all("[data-key]").find((one) => one.dataset.key === keys && one.offsetParent !== null || one.dataset.key === keys && one.closest(".studio-nav, .top"));
  first = !first && all("[data-key]").some((one) => one.dataset.key?.startsWith(`${event.key} `)) ? event.key : "";
  if (first) setTimeout(() => { first = ""; }, 1200);
  if (!found) return;
  event.preventDefault();
  if (found.matches("input, textarea, select")) found.focus(); else found.click();
});

function listKeys() {
  const list = byId("keys-list"), on = /** @type {HTMLInputElement | null} */ (byId("keys-on"));
  list?.replaceChildren();
  const seen = new Set();
  for (const one of all("[data-key]")) {
    const key = one.dataset.key ?? "";
    if (seen.has(key)) continue;
    seen.add(key);
    const term = make("dt");
    for (const textContent of key.split(" ")) term.append(make("kbd", { textContent }), " ");
    const words = one.getAttribute("aria-label") ?? one.textContent ?? "";
    list?.append(term, make("dd", { textContent: words.trim() }));
  }
  if (on) {
    on.checked = localStorage.getItem("keys") !== "off";
    on.onchange = () => localStorage.setItem("keys", on.checked ? "on" : "off");
  }
}

/** Wake the parts under `root`. @param {ParentNode & Node} root */
function ready(root) {
  const here = /** @type {HTMLElement[]} */ (root instanceof HTMLElement ? [root] : []);
  /** @param {string} selector */
  const every = (selector) => [...here.filter((one) => one.matches(selector)), ...all(selector, root)];
  for (const place of every("[data-job]")) followHere(place);
  for (const slider of /** @type {HTMLInputElement[]} */ (every("input[data-slider]"))) {
    const names = slider.dataset.names ? JSON.parse(slider.dataset.names) : null, output = byId(`${slider.id}-value`);
    slider.addEventListener("input", () => { if (output) output.textContent = names ? names[Number(slider.value)] : slider.value; });
  }
  for (const pair of every("[data-before-after]")) {
    const input = pair.querySelector("input");
    input?.addEventListener("input", () => pair.style.setProperty("--cut", `${input.value}%`));
  }
  for (const place of every("[data-every]")) {
    const timer = setInterval(() => {
      const now = place.id ? byId(place.id) : null;
      if (!now || now !== place) return clearInterval(timer);
      if (!document.hidden && !document.querySelector("dialog[open]")) renew(`#${place.id}`, place.dataset.from).catch(() => {});
    }, Number(place.dataset.every));
  }
}

byId("keys")?.addEventListener("toggle", listKeys);
listKeys();
ready(document);

/** Dropped files, and the zone under them; the page is never replaced by one. @param {(files: FileList, zone: Element | null) => void} taken */
export function drops(taken) {
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const zone = /** @type {Element} */ (event.target).closest?.(".drop-zone") ?? null;
      if (kind !== "dragleave") event.preventDefault();
      for (const one of all(".drop-zone")) one.classList.toggle("over", one === zone && kind === "dragover");
      const files = /** @type {DragEvent} */ (event).dataTransfer?.files;
      if (kind === "drop" && files?.length) taken(files, zone);
    });
  }
}
