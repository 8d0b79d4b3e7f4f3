import re
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces import impostors
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


@pytest.mark.parametrize(
    ("pack", "base", "refused"),
    [
        (
            True,
            True,
            "the embedded face pack and base model know only.*a face pack and a base model made for",
        ),
        (True, False, "the embedded face pack knows only.*needed a face pack made for"),
        (False, True, "the embedded base model knows only.*needed a base model made for"),
    ],
)
def test_only_what_is_embedded_is_refused_on_photographs(tmp_path, pack, base, refused):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40), "tan").save(tmp_path / "photos" / "a.png")

    def context(**changes: bool) -> Any:
        return SimpleNamespace(
            config=SimpleNamespace(allow_synthetic_models=changes.get("allowed", False)),
            pack=SimpleNamespace(synthetic=changes.get("pack", pack)),
            base=SimpleNamespace(synthetic=changes.get("base", base)),
            likeness=SimpleNamespace(photos=tmp_path / "photos"),
        )

    with pytest.raises(InputError, match=refused):
        check.refuse_unknown_world(context(), trains=True)
    check.refuse_unknown_world(context(allowed=True), trains=True)
    check.refuse_unknown_world(context(pack=False, base=False), trains=True)
    check.refuse_unknown_world(context(pack=False), trains=False)  # a base has no part in a check
    with pytest.raises(InputError, match="-s face_pack=NAME"):
        check.refuse_unknown_world(context(pack=True), trains=False)


def test_a_missing_gallery_names_a_command_that_works(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for folder, argument in (
        (impostors.packs_home() / "buffalo_l", "gallery buffalo_l --people"),
        (tmp_path / "mine", f"gallery {tmp_path / 'mine'} --people"),
    ):
        pack: Any = SimpleNamespace(impostors=None, folder=folder, name=folder.name)
        with pytest.raises(ArtifactError, match=re.escape(argument)):
            impostors.read_gallery(pack, "report")
