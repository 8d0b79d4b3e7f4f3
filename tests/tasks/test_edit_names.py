"""Where an edit is written: one name per edit, however often it was stopped and asked for again."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from portrait_lora.generation import save
from portrait_lora.records import Portrait, Shot
from portrait_lora.tasks import edit


def test_an_edit_that_was_stopped_does_not_get_a_second_name(tmp_path: Path) -> None:
    shot = Shot("01-classic", "portrait", "", (8, 8), 7, (("subject", "ohwx man"),))
    fixed = Portrait(tmp_path / "x.png", shot, 2, 3.0, 1.0, "a" * 64)
    recipe = save.record_of(fixed, "embedded", "b" * 64, "ohwx") | {save.ACTION: "fix", "seed": 8}

    def place(recipe: save.Record) -> str:
        return edit._place(tmp_path, "01-eyes", recipe).name

    first = tmp_path / place(recipe)
    assert first.name == "01-eyes-1.png"
    save.write(Image.new("RGB", (8, 8)), first, recipe | {save.CONDITIONS: {"threads": 1}})
    assert place(recipe | {save.CONDITIONS: {"threads": 2}}) == first.name
    assert place(recipe | {"seed": 9}) == "01-eyes-2.png"
    sidecar = save.sidecar_of(first).read_bytes()
    save.sidecar_of(first).unlink()  # stopped between the picture and its record
    assert place(recipe) == first.name and place(recipe | {"seed": 9}) == "01-eyes-2.png"
    save.sidecar_of(first).write_bytes(sidecar.replace(b'"sha256": "', b'"sha256": "0'))
    assert place(recipe) == "01-eyes-2.png"  # changed since: somebody's work
    Image.new("RGB", (8, 8)).save(first)
    assert place(recipe) == "01-eyes-2.png"
