// @ts-check
/** The first page: when a job has begun or ended, the cards show what came of it. */
import { all, byId, renew } from "./app.js";

const jobs = () => all("#running [data-running]").map((one) => `${one.dataset.running} ${one.dataset.stage}`).join();
let before = jobs();
document.addEventListener("studio:renewed", () => {
  const now = jobs(), count = all("#running [data-running]").length, badge = byId("jobs-count");
  if (badge) badge.textContent = count ? String(count) : "";
  if (now !== before) renew("#people").catch(() => {});
  before = now;
});
