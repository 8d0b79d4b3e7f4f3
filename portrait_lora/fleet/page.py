"""`reports/roster.html`: who is ready, who has to send which photos, and the questions; it loads nothing."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError
from portrait_lora.fleet.same_person import best_views
from portrait_lora.fleet.standing import PersonCheck, RosterCheck, Standing
from portrait_lora.fleet.templating import render
from portrait_lora.likeness import Journal
from portrait_lora.results import CheckResult
from portrait_lora.rights import marks
from portrait_lora.tasks.shard import files

FILE: Final = Path("reports") / "roster.html"
_THUMB_PX: Final = 240
_MOST_QUESTIONS: Final = 60
_WORDS: Final = {
    Standing.READY: ("good", "Ready"),
    Standing.NEEDS_PHOTOS: ("bad", "Photos needed"),
    Standing.NEEDS_CONSENT: ("ask", "Consent needed"),
    Standing.PROBLEM: ("bad", "Cannot be used"),
    Standing.FORGOTTEN: ("soft", "Forgotten"),
}


def write(home: Path, check: RosterCheck) -> Path:
    """Write the page; only its owner may read it."""
    questions = [q for q in check.questions if q.answer != "different"][:_MOST_QUESTIONS]
    faces = {person: face(home, person) for question in questions for person in question.people}
    waiting = [one for one in check.people if one.standing is not Standing.READY]
    text = render(
        "roster.html.j2",
        check=check,
        title=Path(check.roster).stem,
        counts={state.value: len(check.of(state)) for state in Standing},
        waiting=waiting,
        ready=check.of(Standing.READY),
        questions=questions,
        open_questions=sum(not q.answer for q in check.questions),
        faces=faces,
        words=_WORDS,
        mail=lambda one: _beside(home, one),
    )
    manifest.write_text_atomic(home / FILE, text)
    return home / FILE


def _beside(home: Path, one: PersonCheck) -> str:
    """The mail's address as seen from the page; empty without one."""
    return f"mails/{one.person}.txt" if one.mail and Path(one.mail).is_file() else ""


def face(home: Path, person: str) -> str:
    """The face of a person's best photo as a `data:` URI; empty where there is none."""
    from PIL import Image

    from portrait_lora import config
    from portrait_lora.pictures.reader import UnreadablePhoto, load_photo
    from portrait_lora.stages.configured import edits_of

    folder = files.folder(home, person)
    try:
        result = Journal.open(folder / "reports").result(CheckResult)
        verdict = next(v for v in best_views(result) if v.box_px)
        settings = config.load(folder / config.FILE_NAME).dataset
        edit = edits_of(settings).get(verdict.file)
        _, pixels = load_photo(folder / "photos" / verdict.file, edit=edit)
    except (ArtifactError, StopIteration, UnreadablePhoto):
        return ""
    x0, y0, x1, y1 = (float(v) for v in verdict.box_px or (0, 0, 1, 1))
    half = 0.9 * max(x1 - x0, y1 - y0)
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    box = (round(centre_x - half), round(centre_y - half), round(centre_x + half), round(centre_y + half))
    inside = (max(0, box[0]), max(0, box[1]), min(pixels.shape[1], box[2]), min(pixels.shape[0], box[3]))
    picture = Image.fromarray(pixels).crop(inside)
    picture.thumbnail((_THUMB_PX, _THUMB_PX))
    data = marks.encode(picture, "JPEG", marks.of_copy(folder / "photos" / verdict.file), quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
