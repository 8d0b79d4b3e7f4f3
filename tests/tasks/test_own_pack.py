"""`pack make`, `pack test`, `pack show`, `pack schema`: a pack of one's own from ONNX files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.faces import first_use
from portrait_lora.faces.detectors import backend_of
from portrait_lora.faces.packs import embedded_folder, resolve_pack
from portrait_lora.faces.preprocessing import ARCFACE
from portrait_lora.tasks import own_pack
from tests.faces.made_up_people import MadeUp, open_made_up, write_people
from tests.faces.tiny_opencv import write_embedder, write_yunet
from tests.test_help import run

REAL = Path(os.environ.get("PORTRAIT_LORA_REAL_FACES", Path(__file__).parents[3] / "shared" / "real_faces"))
"""Networks for measuring that are not part of the project."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    write_yunet(folder / "det.onnx", 640)
    write_embedder(folder / "a.onnx", 1)
    write_embedder(folder / "b.onnx", 2)
    return folder


def crowd(tmp_path: Path, count: int) -> Path:
    return write_people(tmp_path / "people", {f"p{i:03}": [(i, k) for k in range(4)] for i in range(count)})


def make(files: Path, out: Path, *options: object) -> int:
    basic = {"--name": "own", "--licence": "words", "--commercial": "unknown"}
    basic |= {"--detector": files / "det.onnx", "--select": files / "a.onnx", "--report": files / "b.onnx"}
    return run("pack", "make", out, *(v for pair in basic.items() for v in pair), *options)


STATED = ("--select-threshold", 0.4, "--report-threshold", 0.5)


def test_a_detector_is_recognised_by_its_outputs(files: Path) -> None:
    assert backend_of(files / "det.onnx") == "opencv"
    assert backend_of(embedded_folder() / "det_synthetic.onnx") == "insightface"
    with pytest.raises(InputError, match=r"got 1 outputs: \(1, 16\); needed SCRFD"):
        backend_of(files / "a.onnx")
    (files / "junk.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="cannot be run"):
        backend_of(files / "junk.onnx")


def test_preprocessing_is_stated_in_words() -> None:
    plain = own_pack.parse_preprocessing("")
    assert (plain.side_px, plain.colour, plain.mean, plain.template) == (112, "RGB", (127.5,) * 3, ARCFACE)
    ten = "47,47,100,47,74,88,50,110,98,110"
    other = own_pack.parse_preprocessing(f"side=150 colour=BGR mean=1,2,3 std=255 template={ten}")
    assert (other.mean, other.std, other.template[1]) == ((1, 2, 3), (255,) * 3, (100, 47))
    wrong = ("side=x", "color=RGB", "colour=RBG", "mean=1,2", "std=0", "template=1,2", "side=-3", "mean=nan")
    for words in wrong:
        with pytest.raises(InputError, match="not a preprocessing"):
            own_pack.parse_preprocessing(words)


def test_a_pack_without_people_takes_the_stated_thresholds(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_use, "strangers_picture", lambda: tmp_path / "absent.jpg")
    out = tmp_path / "pack"
    assert make(files, out) == 2
    assert "no threshold is known" in capsys.readouterr().err and not out.exists()
    assert make(files, out, *STATED, "--select-input", "mean=0 std=1") == 0
    text = capsys.readouterr().out
    assert "sanity test not tested" in text and "not a wrong mean" in text
    pack = resolve_pack(str(out))
    assert (pack.backend, pack.threshold("select"), pack.threshold(), pack.calibrated) == (
        "opencv",
        0.4,
        0.5,
        False,
    )
    stated = pack.stated("select")
    assert stated is not None and stated.mean == (0,) * 3
    assert run("pack", "show", out) == 0
    text = capsys.readouterr().out
    assert "RGB 112 px, (value - 0) / 1, ArcFace's alignment" in text and pack.digest in text
    assert make(files, out, *STATED) == 2, "a pack that is there stays"


def test_a_folder_that_is_in_use_is_refused_before_anything_is_tested(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> str:
        raise AssertionError("a network was run")

    monkeypatch.setattr(own_pack, "backend_of", never)
    out = tmp_path / "pack"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert make(files, out, *STATED) == 2
    assert "something of this name already" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--select-input", "side=150"), "does not take the stated input"),
        (("--report", "{files}/a.onnx"), "one file is given for two networks"),
        (("--landmarks", "{files}/b.onnx"), "landmarks need insightface"),
        (("--detector", "{files}/a.onnx"), "not a detector that is known"),
        (("--report", "{files}/absent.onnx"), "no such embedder"),
    ],
)
def test_wrong_files_leave_nothing_behind(
    files: Path, tmp_path: Path, change: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pack"
    assert make(files, out, *STATED, change[0], change[1].format(files=files)) in (1, 2)
    assert words in capsys.readouterr().err and not out.exists()


def test_with_enough_people_both_thresholds_are_derived(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own_pack, "open_untested", lambda pack, role: MadeUp(role))
    out = tmp_path / "pack"
    assert make(files, out, "--people", crowd(tmp_path, 20)) == 2
    assert "20 people make 380 pairs" in capsys.readouterr().err and not out.exists()
    people = write_people(tmp_path / "many", {f"p{i:03}": [(i, k) for k in range(4)] for i in range(57)})
    assert make(files, out, "--people", people, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outcome"] == "passed" and len(report["tested"]) == 2
    pack = resolve_pack(str(out))
    for role in own_pack.ROLES:
        derived = pack.derived[pack.embedder_ids[role]]
        assert pack.threshold(role) == derived.similarity < 0.7 and derived.people == 57
    assert pack.impostors is None, "nothing of the people is stored"
    record = first_use.read(pack)
    assert record is not None and record.outcome == "passed"


def test_a_failing_pack_is_refused_and_only_accept_keeps_it(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def noise(self: MadeUp, image_rgb: np.ndarray, keypoints_px: np.ndarray) -> np.ndarray:
        own = np.random.default_rng([*image_rgb[0, 0], 3]).normal(size=32) + 5
        return (own / np.linalg.norm(own)).astype(np.float32)

    monkeypatch.setattr(MadeUp, "embed", noise)
    monkeypatch.setattr(own_pack, "open_untested", lambda pack, role: open_made_up(role))
    out, people = tmp_path / "pack", crowd(tmp_path, 20)
    assert make(files, out, *STATED, "--people", people) == 1
    err = capsys.readouterr().err
    assert "does not tell people apart: AUC 0.5" in err and "100.0% of pairs of strangers" in err
    assert not out.exists()
    assert make(files, out, *STATED, "--people", people, "--accept") == 0
    assert "FAILED" in capsys.readouterr().out
    assert "tell people apart" in resolve_pack(str(out)).accepted
    assert run("pack", "test", out, "--people", people) == 1
    assert run("pack", "test", out, "--people", people, "--accept") == 0


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pack", "schema") == 0
    assert "preprocessing" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real networks in {REAL}")
@pytest.mark.parametrize(("words", "code"), [("mean=127.5 std=127.5", 0), ("mean=0 std=1", 1)])
def test_a_real_network_passes_or_fails_on_six_strangers(
    words: str, code: int, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, real = tmp_path / "pack", REAL / "mobilefacenet_192.onnx"
    detector = REAL / "scrfd_500m_bnkps.onnx"
    options = ("--detector", detector, "--report", real, "--report-input", words, "--report-threshold", 0.46)
    assert make(files, out, "--select-threshold", 0.999, *options) == code
    text = capsys.readouterr()
    assert ("15 of 15 pairs of strangers" in text.err) == bool(code)
