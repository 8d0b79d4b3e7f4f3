"""`training.warm_start` names a file that must fit base and embedder; the photos decide what it gives."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from portrait_lora import manifest
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.stages import train, warm_start
from portrait_lora.training.warm_start import DIRECTIONS, MIDDLE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "many.safetensors"
    tensors = {
        "q.lora_A.weight": torch.ones(1, 3), "q.lora_B.weight": torch.ones(2, 1),
        "q.gate.weight": torch.ones(1, 1), MIDDLE: torch.zeros(2), DIRECTIONS: torch.tensor([[1.0, 0.0]]),
    }  # fmt: skip
    (tmp_path / "A.onnx").write_bytes(b"embedder")
    about = {"base": "base", "embedder": manifest.sha256_file(tmp_path / "A.onnx"), "people": 9}
    save_file(tensors, path, {"warm_start": json.dumps(about)})
    return path


class Finder:
    """Sees the faces whose embeddings it was made with, one a picture; None is none."""

    embedder_id = "A"

    def __init__(self, *faces: tuple[float, float] | None) -> None:
        self.faces = list(faces)

    def find(self, _: Any) -> list[Any]:
        face = self.faces.pop(0)
        embedding = np.array(face, dtype=np.float32)
        return [SimpleNamespace(embedding=embedding, size_px=9.0, pose_deg=None)] if face else []


def ctx(name: str, file: Path, finder: Finder | None = None, base: str = "base") -> Any:
    """Of a face pack whose embedder lies beside the file."""
    return SimpleNamespace(
        config=SimpleNamespace(training=SimpleNamespace(warm_start=name)),
        base=SimpleNamespace(digest=base),
        pack=SimpleNamespace(embedder=lambda _: "A.onnx", path=lambda name: file.parent / name),
        finder=finder,
        likeness=SimpleNamespace(adapters=file.parent / "main"),
    )


def crops(folder: Path, count: int) -> list[Any]:
    paths = [folder / f"{i}.png" for i in range(count)]
    for path in paths:
        Image.new("RGB", (16, 16)).save(path)
    return [SimpleNamespace(path=path) for path in paths]


def test_it_must_be_there_and_fit(file: Path) -> None:
    assert warm_start.of(ctx("", file)) is None and warm_start.inputs_of(ctx("", file)) == {}
    fitting = warm_start.of(ctx(str(file), file))
    assert fitting is not None and fitting.people == 9
    with pytest.raises(ConfigError, match="no such warm start"):
        warm_start.of(ctx(str(file.with_name("other.safetensors")), file))
    with pytest.raises(InputError, match="another base"):
        warm_start.of(ctx(str(file), file, base="other"))
    (file.parent / "A.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match="another embedder"):
        warm_start.of(ctx(str(file), file))


def test_its_bytes_and_the_embedder_decide_the_weights(file: Path) -> None:
    first = warm_start.inputs_of(ctx(str(file), file))
    assert first and first == warm_start.inputs_of(ctx(str(file), file))
    (file.parent / "A.onnx").write_bytes(b"another")
    other = warm_start.inputs_of(ctx(str(file), file))
    file.write_bytes(file.read_bytes() + b" ")
    assert len({str(one) for one in (first, other, warm_start.inputs_of(ctx(str(file), file)))}) == 3


def test_a_finished_adapter_needs_the_file_no_more(file: Path) -> None:
    """But for training anew, for a file of another name, or without an adapter it does."""
    run, own = file.parent / "main", ctx(str(file), file)
    begun = warm_start.inputs_of(own)
    run.mkdir()
    (run / "inputs.json").write_text(json.dumps(begun))
    (run / "settings.json").write_text(json.dumps({"training.warm_start": str(file)}))
    (run / "adapter.safetensors").touch()
    file.rename(file.with_name("kept.safetensors"))
    assert warm_start.inputs_of(own) == begun
    warm_start.refuse_what_does_not_fit(own)
    with pytest.raises(ConfigError, match="no such warm start"):
        warm_start.start_of(own, [])
    training = SimpleNamespace(warm_start=str(file), identity_weight=0)
    anew: Any = SimpleNamespace(**vars(own) | {"config": SimpleNamespace(training=training)})
    with pytest.raises(ConfigError, match="no such warm start"):
        train._begin(anew, {})  # before a successor is begun beside it
    misspelt = ctx(f"{file}s", file)
    for asks in (warm_start.inputs_of, warm_start.refuse_what_does_not_fit):
        with pytest.raises(ConfigError, match="no such warm start"):
            asks(misspelt)
    (run / "adapter.safetensors").unlink()
    with pytest.raises(ConfigError, match="no such warm start"):
        warm_start.inputs_of(own)


def test_the_mean_of_the_faces_in_the_crops(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Crops without a face do not count; without any there is no start, and it is said."""
    seen = Finder((1.0, 0.0), None, (0.0, 1.0))
    start = warm_start.start_of(ctx(str(file), file, seen), crops(tmp_path, 3))
    assert start is not None
    down, up = start.layers["q"]
    torch.testing.assert_close(up, torch.full((2, 1), 1.5))
    torch.testing.assert_close(down, torch.ones(1, 3))
    assert warm_start.start_of(ctx(str(file), file, Finder(None)), crops(tmp_path, 1)) is None
    assert "no face in any crop" in caplog.text
    assert warm_start.start_of(ctx("", file), crops(tmp_path, 1)) is None
