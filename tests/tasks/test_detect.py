"""What `detect` says of pictures by this machine, by others, with one layer left and with none."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from portrait_lora.errors import InputError
from portrait_lora.rights import credentials, marks
from portrait_lora.rights.signer import load_signer
from portrait_lora.tasks import detect as looking
from portrait_lora.tasks.detect import Detected, detect, in_words
from tests.certificates import write_papers
from tests.tasks.made_up import noise


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def small(seed: int = 1) -> Image.Image:
    return noise(seed).resize((40, 40))


def test_a_folder_is_read_in_order_without_links_and_hidden_files(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.png", "a/.d.png", ".hidden/e.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(small()))
    (tmp_path / "link.png").symlink_to(tmp_path / "b.png")
    rows = detect(tmp_path).files
    assert [Path(row.file).relative_to(tmp_path).as_posix() for row in rows] == ["b.png", "a/c.png"]
    assert {row.verdict for row in rows} == {"no marks"} and not any(row.generated for row in rows)


def test_who_signed_is_this_machine_or_somebody_nobody_vouches_for(tmp_path: Path) -> None:
    papers = write_papers(tmp_path)
    foreign = credentials.sign(png(small()), "PNG", load_signer(papers.chain, papers.key))
    rows = [
        looking.of_bytes("own.png", marks.encode(small(), "PNG", marks.DRAWN)),
        looking.of_bytes("foreign.png", foreign),
        looking.of_bytes("trusted.png", foreign, papers.authority.read_bytes()),
    ]
    assert [signed_by(row) for row in rows] == ["this machine", "unverified", "trusted authority"]
    words = "\n".join(in_words(rows[1]))
    assert "nobody vouches for" in words and "Anna's studio" in words
    assert "Anna's studio" in "\n".join(in_words(rows[2]))
    assert [row.metadata_type for row in rows] == ["trainedAlgorithmicMedia", None, None]
    assert all(row.generated and row.verdict == "metadata alone" for row in rows), "credentials say so alone"


def signed_by(row: Detected) -> str:
    assert row.credentials is not None
    return row.credentials.origin


def test_a_watermark_alone_says_that_a_picture_was_generated() -> None:
    marked = marks.marked_picture(noise(3).resize((320, 320)), "recipe")
    row = looking.of_bytes("sent on.png", png(marked))
    assert row.verdict == "watermark alone" and row.generated and row.metadata_type is None
    assert row.watermark is not None and row.watermark.tool == "portrait_lora" and row.watermark.whole


def test_a_file_beyond_the_limit_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png(small()))
    monkeypatch.setattr(looking, "MOST_BYTES", 100)
    assert detect(tmp_path).files[0].problem == "a file of more than a gigabyte"
    with pytest.raises(InputError, match="not a picture that can be looked at"):
        detect(tmp_path / "a.png")
