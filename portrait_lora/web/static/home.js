// @ts-check
/** The first page: when a job has ended, the cards show what came of it. */
import { renew } from "./app.js";

document.addEventListener("studio:job", (event) => {
  const { kind, data } = /** @type {CustomEvent} */ (event).detail;
  if (kind === "progress" && data.stage) renew("#people").catch(() => {});
});
