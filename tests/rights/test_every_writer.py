"""No way out without marks: every place that encodes a picture goes through `rights.marks`, or says why not.

The first test reads the source: a new writer fails it.  The second looks at what a whole journey left behind.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import portrait_lora
from portrait_lora import provenance
from portrait_lora.rights import credentials, marks
from tests.conftest import Journey

ROOT = Path(portrait_lora.__file__).parent
WRITES = {"save", "imwrite", "imencode", "imsave", "savefig", "write_frames"}
NO_PICTURE = {"book", "settings", "save", "np", "torch", "tokenizer", "builder", "archive", "model", "self"}
"""Names before `.save(` that are modules or values of another kind."""
ELSEWHERE = {
    "rights/marks.py:encode": "the one place",
    "generation/masks.py:encode_mask": "a mask inside a record: two values, no picture",
    "synthetic/taking.py:encode": "the studio's renders, which carry the studio's own bound mark",
    "dataset/crop.py:save_png": "training crops and masks, which never leave the dataset's folder",
    "tasks/remains.py:look_of": "a small grey look in memory, to search for copies",
    "rights/watermark/rehearsal.py:_through": "in memory, to measure what is left of a mark",
    "finishing/animated.py:_plain": "sealed by `encoded`, its only caller",
    "finishing/animated.py:_mp4": "sealed by `encoded`, through `_plain`",
    "finishing/photoshop.py:encoded": "a PSD cannot hold C2PA: XMP alone, and its parts keep their watermark",
}


def calls() -> Iterator[tuple[str, str]]:
    """`module:function` and the source of every call that encodes something."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and _is_picture(node):
                    yield f"{path.relative_to(ROOT).as_posix()}:{function.name}", ast.unparse(node)


def _is_picture(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in WRITES:
        return False
    before = node.func.value
    return not (isinstance(before, ast.Name) and before.id in NO_PICTURE)


def test_every_encoder_is_the_one_place_or_says_why_not() -> None:
    seen = list(calls())
    others = [f"{place}  {call}" for place, call in seen if place not in ELSEWHERE]
    assert not others, "these write pictures past rights.marks:\n" + "\n".join(others)
    stale = set(ELSEWHERE) - {place for place, _ in seen}
    assert not stale, f"no longer there: {stale}"


def test_the_reasons_hold() -> None:
    source = (ROOT / "finishing" / "animated.py").read_text(encoding="utf-8")
    assert len(re.findall(r"\b_plain\(", source)) == 2 and "sealed = marks.seal(data, origin)" in source
    assert len(re.findall(r"\b_mp4\(", source)) == 2


def pictures_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Pictures that a journey wrote, and those inside its pages; neither photos nor crops of them."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if inside[0] in ("photos", "dataset") or not path.is_file():
            continue
        if path.suffix in (".png", ".jpg", ".webp", ".tif"):
            yield "/".join(inside), path.read_bytes()
        elif path.suffix == ".html":
            text = path.read_text(encoding="utf-8")
            for number, data in enumerate(
                re.findall(r"data:image/(?:jpeg|png);base64,([A-Za-z0-9+/=]+)", text)
            ):
                yield f"{'/'.join(inside)} #{number}", base64.b64decode(data)


@pytest.mark.journey
def test_what_a_journey_leaves_carries_its_marks(journey: Journey, tmp_path: Path) -> None:
    import io

    import numpy as np
    from PIL import Image

    mark, drawn, counted, looked_at, readings = marks.watermark(), 0, 0, 0, 0
    for name, data in pictures_of(journey.folder):
        kind = credentials.sniffed(data)
        assert kind is not None, name
        stated = credentials.read(data, kind)
        assert stated is not None and stated.state == "valid", name
        counted += 1
        if name.startswith("portraits/") and not name.endswith(("contact_sheet.jpg", "worst_first.jpg")):
            drawn += 1
            file = tmp_path / f"one{Path(name).suffix}"
            file.write_bytes(data)
            assert provenance.source_type(file) == stated.digital_source_type == provenance.TRAINED, name
            with Image.open(io.BytesIO(data)) as picture:
                size = picture.size
            assert (marks.WATERMARKED in stated.actions) == marks.is_marked_when_drawn(size), name
            assert marks.outgoing(file, is_shown=True) == data, "one's own studio shows it as it is"
            if (looked_at := looked_at + 1) <= 3:
                leaving = marks.outgoing(file)
                of_leaving = credentials.read(leaving, kind)
                assert of_leaving is not None and of_leaving.state == "valid", name
                assert marks.WATERMARKED in (*of_leaving.actions, *stated.actions), name
                with Image.open(io.BytesIO(leaving)) as picture:
                    readings += mark.detect(np.asarray(picture.convert("RGB"))) is not None
    assert readings >= 1, "looking takes seconds, so only at three of them"
    assert drawn >= 4 and counted > drawn, "the walk finds them"
