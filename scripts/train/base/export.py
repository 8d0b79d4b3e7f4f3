"""Stage `export`: the folder that `StableDiffusionPipeline.from_pretrained` loads, with card and digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from scripts.train.checkpoint import CHECKPOINT, STATE, write_atomically, write_json

from .card import Pictures, read_json, write_card
from .configs import PREVIEW_PROMPTS
from .names import FILE as NAMES_FILE
from .preview import build_pipeline, draw, save_sheet
from .tokenizer import load_tokenizer
from .unet import FOLDER, PICTURES, Shape, load_averaged

DIGESTS: Final = "digests.json"
TRAINING: Final = "training.json"
EARLIER: Final = "earlier.json"


def read_shape(out: Path) -> Shape:
    """The shape of the UNet that was trained in `out`."""
    row = json.loads((out / FOLDER / "shape.json").read_text(encoding="utf-8"))
    return Shape(tuple(row["channels"]), tuple(row["attention"]), row["layers"])


def export(out: Path, target: Path, vae: AutoencoderKL, pictures: Pictures) -> None:
    """Write the newest running averages to `target`; training may go on meanwhile.

    `pictures` is what it was trained on.  The network of names stays in `out`: only training needs it.
    """
    if not (out / FOLDER / CHECKPOINT).exists():
        raise FileNotFoundError(f"{out / FOLDER}: no checkpoint yet; run the stage unet first")
    tokenizer = load_tokenizer(out / "tokenizer")
    modules = load_averaged(out, tokenizer, read_shape(out))
    pipeline = build_pipeline(vae.eval(), modules["unet"], modules["text"], tokenizer)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    save_half(pipeline, temporary)
    write_atomically(out / NAMES_FILE, {k: v.half() for k, v in modules["names"].state_dict().items()})
    shutil.copytree(out / "tokenizer", temporary / "tokenizer", dirs_exist_ok=True)
    done = totals(out)
    write_json(temporary / TRAINING, done)
    write_card(out, temporary, pictures, done)
    write_json(temporary / DIGESTS, digests(temporary))
    check(temporary, out)
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(temporary, target)
    shutil.rmtree(old, ignore_errors=True)
    print(f"exported to {target}", flush=True)


def save_half(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Save with weights in float16; all configurations say float32, and so they load."""
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.half()
    pipeline.save_pretrained(str(folder), safe_serialization=True)
    for name in ("unet", "vae", "text_encoder"):
        file = folder / name / "config.json"
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings.pop("_name_or_path", None)
        if "dtype" in settings:
            settings["dtype"] = "float32"
        write_json(file, settings)
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file but the digests themselves, by relative path."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != DIGESTS)
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def check(folder: Path, out: Path) -> None:
    """Load the folder as a user would and draw two prompts; refuse mixed types and empty pictures."""
    pipeline = StableDiffusionPipeline.from_pretrained(str(folder))
    kinds = {name: module.dtype for name, module in pipeline.components.items() if hasattr(module, "dtype")}
    if set(kinds.values()) != {torch.float32}:
        raise RuntimeError(f"exported parts do not load in float32: {kinds}")
    pipeline.set_progress_bar_config(disable=True)
    pictures = draw(pipeline, PREVIEW_PROMPTS[:4], steps=12)
    if not torch.isfinite(pictures).all() or pictures.std() < 1e-3:
        raise RuntimeError("the exported pipeline draws nothing")
    save_sheet(pictures, out / "previews" / "export.png", columns=4)
    sizes = {
        p.name: sum(f.stat().st_size for f in p.rglob("*") if f.is_file())
        for p in folder.iterdir()
        if p.is_dir()
    }
    print("sizes " + " ".join(f"{k} {v / 1e6:.2f} MB" for k, v in sorted(sizes.items())), flush=True)


def totals(out: Path) -> dict[str, Any]:
    """Steps of every part and samples of the UNet, those of the base that was unpacked included.

    `last` is the latest training of the UNet (rate, batch, samples, velocity error, pictures), `watched`
    whether an embedder watched the decoder.
    """
    earlier = read_json(out / EARLIER)
    states = {part: read_json(out / part / STATE) for part in ("encoder", "decoder", FOLDER)}
    mine = {part: int(state.get("step", 0)) for part, state in states.items()}
    mine["samples"] = int(states[FOLDER].get("samples", 0))
    done: dict[str, Any] = {name: count + int(earlier.get(name, 0)) for name, count in mine.items()}
    done["last"] = earlier.get("last", {})
    if mine["samples"]:
        plan, error = states[FOLDER]["plan"], (states[FOLDER].get("figures") or {}).get("error")
        done["last"] = {"lr": plan["lr"], "batch": plan["batch"], "samples": mine["samples"], "error": error}
        done["last"] |= {"pictures": read_json(out / FOLDER / PICTURES)}
    taught = "unlike" in (states["decoder"].get("figures") or {})
    return done | {"watched": taught or bool(earlier.get("watched"))}
