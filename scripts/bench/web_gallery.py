"""A gallery of 1,000 portraits: the first paint, how smoothly it scrolls to its end, and the size of scripts.

python -m scripts.bench.web_gallery --quick
python -m scripts.bench.web_gallery --full --json gallery.json

The portraits are colours of 256 px with real records.  The browser is headless and draws without a GPU, on
whatever else this machine does: frames are the time between two callbacks before painting.
"""

from __future__ import annotations

import colorsys
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from portrait_lora.config import FILE_NAME
from portrait_lora.generation import save
from portrait_lora.measured import Row
from portrait_lora.records import Portrait, Shot
from scripts.rows import arguments, finish

if TYPE_CHECKING:
    from playwright.sync_api import Page

STATIC: Final = Path(__file__).parents[2] / "portrait_lora" / "web" / "static"
COUNT: Final = 1000
_SCROLL: Final = """async () => {
  const frames = [];
  const begun = performance.now();
  let last = begun, still = 0, height = 0;
  while (still < 90 && last - begun < 120000) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    frames.push(now - last);
    last = now;
    scrollBy(0, 60);
    const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 4;
    const more = document.querySelector("[data-next]"); // a further page is still to come
    still = end && !more && document.documentElement.scrollHeight === height ? still + 1 : 0;
    height = document.documentElement.scrollHeight;
  }
  return frames.slice(2, -90);
}"""


def likeness(folder: Path, count: int) -> None:
    """A folder with `count` portraits, each with its record."""
    series = folder / "portraits" / "many"
    series.mkdir(parents=True)
    (folder / "photos").mkdir()
    (folder / FILE_NAME).write_text("base: embedded\n")
    for i in range(count):
        rgb = tuple(round(255 * v) for v in colorsys.hsv_to_rgb(i / count, 0.45, 0.85))
        shot = Shot(f"{i:04d}", f"portrait {i} of ohwx man", "", (256, 256), i)
        portrait = Portrait(series / f"{i:04d}.png", shot, 2, 3.0, 1.0, "a" * 64)
        record = save.record_of(portrait, "embedded", "b" * 64, "ohwx")
        save.write(Image.new("RGB", (256, 256), rgb), portrait.path, record)


def measured(page: Page, address: str) -> dict[str, Any]:
    """First paint in ms, frames in ms while it scrolls, tiles at the end."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    paint = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN")
    frames = page.evaluate(_SCROLL)
    tiles = page.locator("#tiles .shot").count()
    return {"paint": paint, "frames": frames, "tiles": tiles}


def main() -> int:
    options = arguments(__doc__ or "").parse_args()
    from playwright.sync_api import sync_playwright

    from tests.web.open_studio import TOKEN, open_studio

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    runs = 3 if options.full else 1
    with tempfile.TemporaryDirectory() as name:
        likeness(Path(name) / "many", COUNT)
        with (
            open_studio(Path(name) / "home", likenesses=(Path(name) / "many",)) as studio,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            person = next(iter(studio.studio._now()))
            results: list[dict[str, Any]] = []
            for _ in range(runs + 1):  # the first makes the small pictures, which are kept
                page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
                page.goto(f"{studio.address}/sign-in?token={TOKEN}")
                results.append(measured(page, f"{studio.address}/people/{person}/portraits"))
                page.context.close()
            browser.close()
    return finish(rows_of(results), options.json)


def rows_of(results: list[dict[str, Any]]) -> list[Row]:
    """The figures beside their targets."""
    first, later = results[0], results[1:]
    frames = sorted(frame for one in later for frame in one["frames"])
    slow = sorted(first["frames"])
    scripts = sum(path.stat().st_size for path in STATIC.glob("*.js"))
    paint = statistics.median(one["paint"] for one in later)
    n, median, p95 = len(frames), statistics.median(frames), _at(frames, 0.95)
    return [
        Row("portraits at the end of the scroll", min(r["tiles"] for r in results), "tiles", COUNT, COUNT),
        Row("first paint of the gallery", paint / 1000, "s", len(later), 0.3, at_most=True),
        Row("frame while scrolling, median", median, "ms", n, 17.5, at_most=True),
        Row("frame while scrolling, 95th percentile", p95, "ms", n, 34, at_most=True),
        Row("frames above 100 ms", sum(f > 100 for f in frames) / n, "share", n, 0.01, at_most=True),
        Row("the same while the small pictures are made, 95th percentile", _at(slow, 0.95), "ms", len(slow)),
        Row("all scripts of the studio", scripts / 1024, "KB", 1, 60, at_most=True),
    ]  # fmt: skip


def _at(values: list[float], share: float) -> float:
    return values[min(int(share * len(values)), len(values) - 1)]


if __name__ == "__main__":
    sys.exit(main())
