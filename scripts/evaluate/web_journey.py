"""The whole journey in the page, by a browser, on the embedded default; also with the server killed in it.

python -m scripts.evaluate.web_journey --quick
python -m scripts.evaluate.web_journey --full --json journey.json

Photos dropped → check → consent → train with live previews → portraits → favourite → fix by brush → finish →
download → report.  In the middle of the training the server is killed (SIGKILL), started again and opened
again: the training goes on, and the adapter has the digest that the command line gives.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portrait_lora import manifest
from portrait_lora.config import FILE_NAME
from portrait_lora.measured import Row
from scripts.rows import Table, arguments

if TYPE_CHECKING:
    from playwright.sync_api import Page

PERSON: Final = 8_801
SMALL: Final = {
    "training.exposures_per_photo": "12",
    "training.identity_lessons": "8",
    "training.checkpoints": "3",
    "select.probes": "2",
    "generate.num_inference_steps": "8",
}
"""Of the quick run, written on the page *Settings*."""
WAIT_MS: Final = 900_000
_WITH_US: Final = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass
class Journey:
    """What happened: seconds by step, and what went wrong on the pages."""

    seconds: dict[str, float] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    previews: int = 0
    kept: bool = False
    pictures_in_zip: int = 0
    verdict: str = ""
    digest: str = ""
    person: str = ""
    folder: Path = Path()


@contextmanager
def server(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`portrait-lora web`, and the link that it prints; killed at the end if it still runs."""
    code = "from portrait_lora.cli import app; app()"
    command = [sys.executable, "-c", code, "web", str(home), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **_WITH_US})
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(r"https?://\S+", line):
                yield process, match[0]
                return
        raise RuntimeError("the studio did not start")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def browser() -> Iterator[Callable[[str, Journey], Page]]:
    """Opens a page at a link, with its troubles written down."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])

        def opened(link: str, journey: Journey) -> Page:
            page = running.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.set_default_timeout(120_000)
            page.on("pageerror", lambda error: journey.troubles.append(str(error)))
            page.goto(link)
            return page

        yield opened
        running.close()


def photos(folder: Path, seed: int) -> list[Path]:
    """Photos of a person who does not exist, some of them bad."""
    from portrait_lora.synthetic import photos as studio

    studio.make_reference_set(PERSON + seed, folder, good=10, bad=studio.BAD_CODES[:2])
    return sorted(folder.glob("*.jpg"))


@contextmanager
def timed(journey: Journey, step: str) -> Iterator[None]:
    """Writes down how long a step took, and says so."""
    begun = time.monotonic()
    yield
    journey.seconds[step] = round(time.monotonic() - begun, 1)
    print(f"  {step}: {journey.seconds[step]} s", flush=True)


def settle(page: Page, selector: str) -> None:
    """Wait until no job is followed on the page any more, and then for what comes of it."""
    page.wait_for_function("() => !document.querySelector('[data-job]')", timeout=WAIT_MS)
    page.locator(selector).first.wait_for(timeout=WAIT_MS)


def begin(page: Page, home: Path, files: list[Path], small: bool, journey: Journey) -> None:
    """A new person, their photos, the check, and the settings of a quick run."""
    with timed(journey, "photos"):
        page.locator("[data-open=new-person]").first.click()
        page.fill("#person-name", "Journey")
        page.locator("dialog[open] button.primary").click()
        page.wait_for_url("**/photos")
        journey.person = page.url.split("/")[-2]
        journey.folder = home / "people" / journey.person
        page.set_input_files("#files", [str(file) for file in files])
        page.wait_for_function(
            f"() => document.querySelectorAll('#cards > *').length >= {len(files)}", timeout=WAIT_MS
        )
    if small:
        with timed(journey, "settings"):
            page.goto(page.url.replace("/photos", "/settings"))
            for key, value in SMALL.items():
                page.fill(f"#{key.replace('.', '-')}", value)
            page.get_by_role("button", name="Save").click()
            page.wait_for_url("**/settings?saved=1")
    with timed(journey, "check"):
        page.goto(re.sub(r"/settings.*", "/photos", page.url))
        page.wait_for_function("() => !document.querySelector('#checking [data-job]')", timeout=WAIT_MS)
        if page.locator("#advice .panel").count() == 0:
            page.locator("#check-now").click()
        page.locator("#advice .panel").first.wait_for(timeout=WAIT_MS)
    if page.locator("#consent [data-open=consent-form]").count():
        with timed(journey, "consent"):
            page.locator("#consent [data-open=consent-form]").first.click()
            page.locator("#consent-form button.primary").click()
            page.locator(".consent-line").wait_for()


def start_training(page: Page) -> None:
    """The plan first, then the click."""
    page.goto(re.sub(r"/photos.*", "/training", page.url))
    page.locator("#plan .numbers").wait_for(timeout=WAIT_MS)
    page.get_by_role("button", name="Start training").click()
    page.locator("[data-job]").first.wait_for()


def kill_in_training(page: Page, process: subprocess.Popen[str], journey: Journey) -> None:
    """SIGKILL for the server as soon as a first checkpoint with its previews is seen on the page."""
    page.locator("#checkpoints .probe img").first.wait_for(timeout=WAIT_MS, state="attached")
    journey.previews = page.locator("#checkpoints .probe").count()
    process.kill()
    process.wait()


def portraits(page: Page, journey: Journey) -> None:
    """A series, a favourite, a part painted over and drawn again, a look, and a zip."""
    base = re.sub(r"/training.*", "", page.url)
    with timed(journey, "portraits"):
        page.goto(f"{base}/portraits")
        page.locator("[data-open=draw]").first.click()
        page.locator("input[name=series][value=headshots]").check()
        page.fill("#per_shot", "1")
        page.locator("dialog[open] button.primary").click()
        page.locator("#now [data-job]").first.wait_for()
        settle(page, "#tiles .shot img")
    with timed(journey, "favourite"):
        page.locator("[data-like]").first.click()
        page.locator("[data-like][aria-pressed=true]").first.wait_for()
        page.locator(".filter", has_text="Favourites 1").or_(page.locator(".filter")).first.wait_for()
    with timed(journey, "fix by brush"):
        page.locator("#tiles .shot a").first.click()
        page.locator("#brush").click()
        box = page.locator("#paint").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.35 * box["width"], box["y"] + 0.8 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.65 * box["width"], box["y"] + 0.85 * box["height"], steps=6)
        page.mouse.up()
        page.locator("#painted:checked").wait_for(state="attached")
        page.locator("#fix input[name=keep]").check()
        page.get_by_role("button", name="Draw again", exact=True).click()
        page.locator("#now [data-job]").first.wait_for()
        settle(page, "#now .notice.good")
        journey.kept = True
    with timed(journey, "finish"):
        page.locator("input[name=look][value=noir]").check()
        page.get_by_role("button", name="Finish with this look").click()
        page.locator("#now [data-job]").first.wait_for()
        settle(page, "#finished img")
    with timed(journey, "download"):
        page.goto(f"{base}/portraits")
        for box_ in page.locator("input[name=picture]").all()[:4]:
            box_.check()
        page.select_option("#format", "jpeg")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download zip").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            journey.pictures_in_zip = sum(name.endswith(".jpg") for name in archive.namelist())


def report(page: Page, journey: Journey) -> None:
    """The measured likeness."""
    with timed(journey, "report"):
        page.goto(re.sub(r"/portraits.*", "/measure", page.url))
        page.locator("#series + button, form button:has-text('Measure')").first.click()
        page.locator("#now [data-job]").first.wait_for()
        settle(page, "#report .verdict-words")
        journey.verdict = page.locator("#report .verdict-words").inner_text()


def on_the_command_line(journey: Journey, folder: Path) -> str:
    """The adapter's digest when the same photos and settings are trained by the command."""
    shutil.copytree(journey.folder / "photos", folder / "photos")
    shutil.copyfile(journey.folder / FILE_NAME, folder / FILE_NAME)
    if (journey.folder / "consent.json").is_file():
        shutil.copyfile(journey.folder / "consent.json", folder / "consent.json")
    code = "from portrait_lora.cli import app; app()"
    command = [sys.executable, "-c", code, "train", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, **_WITH_US}, capture_output=True)
    return manifest.sha256_file(folder / "adapters" / "main" / "adapter.safetensors")


def run(home: Path, seed: int, *, small: bool) -> Journey:
    """The journey, in two lives of the server."""
    journey = Journey()
    with browser() as opened:
        with server(home) as (process, link):
            page = opened(link, journey)
            begin(page, home, photos(home.parent / "given", seed), small, journey)
            with timed(journey, "training until the kill"):
                start_training(page)
                kill_in_training(page, process, journey)
        with server(home) as (_, link):
            page = opened(link, journey)
            with timed(journey, "training after the restart"):
                page.goto(f"{link.split('/sign-in')[0]}/people/{journey.person}/training")
                settle(page, ".next")
            path = journey.folder / "adapters" / "main" / "adapter.safetensors"
            journey.digest = manifest.sha256_file(path)
            portraits(page, journey)
            report(page, journey)
    return journey


def rows_of(journey: Journey, same: bool) -> list[Row]:
    """The figures beside their targets."""
    return [
        Row("previews shown while it trained", journey.previews, "checkpoints", 1, 1),
        Row("adapter as on the command line, server killed", float(same), "share", 1, 1),
        Row("fix by brush kept", float(journey.kept), "share", 1, 1),
        Row("pictures in the zip", journey.pictures_in_zip, "pictures", 1, 4),
        Row("a verdict on the report", float(bool(journey.verdict)), "share", 1, 1),
        Row("errors of scripts on the pages", len(journey.troubles), "errors", 1, 0, at_most=True),
        Row("the whole journey", sum(journey.seconds.values()), "s", 1),
    ]


def main() -> int:
    options = arguments(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        journey = run(Path(folder) / "studio", options.seed, small=not options.full)
        digest = on_the_command_line(journey, Path(folder) / "command")
    print(journey.verdict)
    for trouble in journey.troubles:
        print("  ", trouble)
    table = Table(options.json)
    table.add(rows_of(journey, digest == journey.digest))
    return table.code()


if __name__ == "__main__":
    sys.exit(main())
