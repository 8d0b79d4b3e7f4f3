"""A likeness folder as a journey leaves it, made of noise in a moment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from portrait_lora import manifest, provenance
from portrait_lora.config import dump, load
from portrait_lora.families import adapter_file
from portrait_lora.records import Adapter


def noise(seed: int, side: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8))


def make_likeness(root: Path, *, studio: bool = False, base: str = "embedded", seed: int = 0) -> Path:
    """photos, dataset, adapters, portraits, reports: every kind of file that a person leaves.

    Another `seed` is another person.
    """
    own = 1000 * seed
    (root / "photos").mkdir(parents=True)
    for i in range(3):
        photo = root / "photos" / f"anna_{i}.png"
        noise(own + i).save(photo)
        if studio:
            photo.write_bytes(provenance.studio_marked(photo.read_bytes()))
    (root / "likeness.yaml").write_text(dump(load(None, [f"base={base}", "subject.name=Anna"])))
    (root / "captions.csv").write_text("file,caption\nanna_0.png,ohwx woman\n")
    with manifest.writing(root / "dataset", kind="dataset", inputs={}) as folder:
        (folder / "train").mkdir()
        noise(own + 10).save(folder / "train" / "crop.png")
    run = root / "adapters" / "main"
    (run / "cache").mkdir(parents=True)
    rng, layer = np.random.default_rng(own + 5), "mid_block.attentions.0.proj_in"
    shapes = {f"unet.{layer}.lora_A.weight": (4, 192, 1, 1), f"unet.{layer}.lora_B.weight": (192, 4, 1, 1)}
    tensors = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    save_file(tensors, run / "cache" / "latents.safetensors")
    adapter = Adapter(
        run / "adapter.safetensors", "sd15", base, "0" * 64, 4, 4.0, ("to_q",), "ohwx", "1" * 64, "2" * 64, 10
    )
    header = adapter_file.metadata(adapter, resolution_px=128, prediction_type="epsilon", licence="x")
    for name, keys in (("adapter", "lora_A"), ("adapter_comfy", "lora_down")):
        renamed = {k.replace("lora_A", keys): v for k, v in tensors.items()}
        save_file(renamed, run / f"{name}.safetensors", metadata=header)
    manifest.finish(run, kind="adapter", inputs={})
    series = root / "portraits" / "headshots"
    series.mkdir(parents=True)
    for i in range(2):
        picture = series / f"shot_{i}.png"
        noise(own + 20 + i).save(picture, pnginfo=provenance.png_info({"seed": i, "prompt": "ohwx woman"}))
        sidecar = {"recipe": {"seed": i}, "sha256": manifest.sha256_file(picture), "versions": {"torch": "2"}}
        sidecar["digital_source_type"] = provenance.TRAINED
        picture.with_suffix(".json").write_text(json.dumps(sidecar))
    (root / "reports").mkdir()
    (root / "reports" / "check.html").write_text("<html>anna_0.png</html>")
    return root
