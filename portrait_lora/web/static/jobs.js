// @ts-check
/** Jobs: times in words of this place, and the log as it comes. */
import { all, byId } from "./app.js";

const words = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
/** @param {ParentNode} root */
function times(root) {
  for (const one of all("time[data-time]", root)) {
    const when = new Date(Number(one.dataset.time) * 1000);
    one.setAttribute("datetime", when.toISOString());
    one.textContent = words.format(when);
  }
}

document.addEventListener("studio:renewed", (event) => times(/** @type {CustomEvent} */ (event).detail ?? document));
document.addEventListener("studio:job", (event) => {
  const { kind, data } = /** @type {CustomEvent} */ (event).detail, log = byId("log");
  if (kind !== "log" || !log) return;
  const below = log.scrollTop + log.clientHeight > log.scrollHeight - 30;
  log.append(`${data.text ?? ""}\n`);
  if (below) log.scrollTop = log.scrollHeight;
});
times(document);
const log = byId("log");
if (log) log.scrollTop = log.scrollHeight;
