from types import SimpleNamespace
from typing import Any

import pytest

from portrait_lora.stages import check


@pytest.mark.parametrize("change", ["resolution_px", "pack", "photos"])
def test_photos_are_checked_anew_when_what_the_check_depends_on_changes(change):
    def inputs(**changes) -> dict[str, str]:
        ctx: Any = SimpleNamespace(
            photo_digests={"a.jpg": changes.get("photos", "1")},
            pack=SimpleNamespace(digest=changes.get("pack", "p")),
            base=SimpleNamespace(resolution_px=changes.get("resolution_px", 128)),
            digest=lambda *sections: ",".join(sections),
        )
        return check.photo_inputs(ctx)

    assert inputs() == inputs()
    assert inputs(**{change: 512 if change == "resolution_px" else "other"}) != inputs()


def test_training_photos_are_found_by_name_or_else_by_their_bytes(tmp_path):
    from portrait_lora import likeness
    from portrait_lora.config import load
    from portrait_lora.stages.context import Context

    (tmp_path / "photos").mkdir()
    names = {"a.jpg": b"1", "b.jpg": b"1", "renamed.jpg": b"2", "c.jpg": b"3"}
    for name, data in names.items():
        (tmp_path / "photos" / name).write_bytes(data)
    ctx = Context(likeness.Likeness(tmp_path, load(None, [])))
    digests = ctx.photo_digests
    sources = [("b.jpg", digests["a.jpg"]), ("Andr?.jpg", digests["renamed.jpg"]), ("gone.jpg", "0")]
    crops: Any = [
        SimpleNamespace(source=name, source_sha256=digest) for name, digest in (*sources, sources[0])
    ]
    assert [p.name for p in ctx.photos_of(crops)] == ["b.jpg", "gone.jpg", "renamed.jpg"]
