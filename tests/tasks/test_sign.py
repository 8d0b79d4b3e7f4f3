"""Signed copies beside their originals; the command, and what `inspect` and `forget` make of them."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from portrait_lora import cli, manifest, provenance
from portrait_lora.errors import InputError
from portrait_lora.rights.signer import Signer, load_signer
from portrait_lora.tasks.export import exported_to
from portrait_lora.tasks.forget import forget
from portrait_lora.tasks.inspect import inspect_file
from portrait_lora.tasks.sign import sign_files
from tests.certificates import Papers, write_papers
from tests.tasks.made_up import make_likeness, noise


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return write_papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def signer(papers: Papers) -> Signer:
    return load_signer(papers.chain, papers.key)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A sealed folder of two portraits with their sidecars."""
    folder = make_likeness(tmp_path / "anna") / "portraits" / "headshots"
    manifest.finish(folder, kind="portraits", inputs={})
    return folder


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli._run(functools.partial(cli.app, [str(a) for a in arguments]))
    output = capsys.readouterr()
    return code, output.out, output.err


def test_the_command_signs_copies_and_inspect_shows_them(
    series: Path, papers: Papers, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(series.glob("*.png"))
    code, out, _ = call(capsys, "sign", *files, *papers.options, "--json")
    summary = json.loads(out)
    assert code == 0 and summary["algorithm"] == "es256"
    copies = [Path(row["signed"]) for row in summary["pictures"]]
    assert [c.parent.name for c in copies] == ["headshots-signed"] * 2
    assert [manifest.sha256_file(c) for c in copies] == [row["sha256"] for row in summary["pictures"]]
    manifest.verify(series)
    assert all(inspect_file(f)["sidecar"]["matches"] for f in files)  # type: ignore[index]
    code, out, _ = call(capsys, "inspect", copies[0], "--json")
    shown = json.loads(out)["credentials"]
    assert code == 0 and shown["state"] == "valid" and shown["signer"] == "Anna's studio, Example studio"
    assert json.loads(out)["recipe"] == {"seed": 0, "prompt": "ohwx woman"}
    code, out, _ = call(capsys, "inspect", copies[0], "--trust", papers.authority)
    signed = next(line for line in out.splitlines() if line.startswith("  signed?"))
    assert code == 0 and signed.split("?")[1].strip() == "trusted, by Anna's studio, Example studio"
    assert inspect_file(files[0])["credentials"] is None


def test_an_altered_copy_is_reported(series: Path, signer: Signer) -> None:
    copy = sign_files([series / "shot_0.png"], signer)[0].path
    data = bytearray(copy.read_bytes())
    data[data.rindex(b"IDAT") + 100] ^= 1
    copy.write_bytes(data)
    shown = inspect_file(copy)["credentials"]
    assert isinstance(shown, dict) and shown["state"] == "invalid" and shown["altered"]


def test_signing_again_replaces_only_signed_copies(series: Path, signer: Signer, tmp_path: Path) -> None:
    file, out = series / "shot_0.png", tmp_path / "out"
    first = sign_files([file], signer, out)[0].sha256
    assert sign_files([file], signer, out)[0].sha256 == first, "the same bytes again"
    (out / "shot_1.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="would replace another file"):
        sign_files([file, series / "shot_1.png"], signer, out)
    assert (out / "shot_1.png").read_bytes() == b"mine"
    assert not list(out.glob(".*")), "nothing half-written"


def test_pictures_that_are_not_signed(
    series: Path, signer: Signer, papers: Papers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = series / "shot_0.png"
    photo, text = tmp_path / "photo.png", tmp_path / "text.png"
    noise(1).save(photo)
    text.write_text("no picture")
    bitmap = tmp_path / "a.bmp"
    noise(1).save(bitmap)
    signed = sign_files([file], signer)[0].path
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "shot_0.png"
    other.write_bytes(file.read_bytes())
    edited = tmp_path / "shot_0.png"
    noise(2).save(edited, pnginfo=provenance.png_info(None))
    edited.with_suffix(".json").write_text((series / "shot_0.json").read_text())
    for pictures, match in (
        ([photo], "nothing says that this picture is generated"),
        ([text], "not a picture that can be signed"),
        ([bitmap], "PNG, JPEG or WebP"),
        ([signed], "signed already"),
        ([tmp_path / "none.png"], "no such file"),
        ([edited], "not the one its JSON file speaks of"),
    ):
        with pytest.raises(InputError, match=match):
            sign_files([other, *pictures], signer, tmp_path / "out")
    with pytest.raises(InputError, match="same name"):
        sign_files([file, other], signer, tmp_path / "out")
    with pytest.raises(InputError, match="sealed"):
        sign_files([other], signer, series)
    assert not (tmp_path / "out").exists(), "all are judged before the first is signed"
    code, _, err = call(capsys, "sign", photo, *papers.options)
    assert code == 2 and "photo.png" in err


def test_forget_finds_signed_copies_elsewhere(
    series: Path, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    likeness, out = series.parents[1], tmp_path / "website"
    sign_files(sorted(series.glob("*.png")), signer, out)
    (out / "logo.png").write_bytes(b"logo" * 100)
    assert exported_to(likeness) == [out]
    forget(likeness, photos=True, also=exported_to(likeness))
    assert [p.name for p in out.iterdir()] == ["logo.png"]
