"""Checkpoints in one file, as A1111 and ComfyUI keep them, made into a folder that every other part can use.

The file holds weights only; how the networks are built, tokenizer and scheduler come from the configuration
of a model of the same family.  Families whose row has a `checkpoint`; nothing is loaded before the header has
been judged.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# diffusers is typed in part.
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.families import layout
from portrait_lora.families.adapter_file import read_header
from portrait_lora.families.rows import ROWS
from portrait_lora.records import FamilyName

DENOISER: Final = "model.diffusion_model."
VAE: Final = "first_stage_model."
_VAE_PARTS: Final = tuple(VAE + p for p in ("encoder.", "decoder.", "quant_conv.", "post_quant_conv."))
_TEXT: Final = ("cond_stage_model.", "conditioner.")
_OTHERS: Final = (
    ("lora_", "a LoRA"),
    ("diffusion_model.lora", "a LoRA"),
    ("control_model.", "a ControlNet"),
    ("double_blocks.", "a FLUX transformer"),
    ("joint_blocks.", "a Stable Diffusion 3 transformer"),
    ("cond_stage_model.model.", "Stable Diffusion 2"),
    ("conditioner.embedders.0.model.", "the SDXL refiner"),
    ("cond_stage_model.transformer.embeddings.", "a text encoder in a layout of its own"),
    ("down_blocks.", "weights in diffusers layout"),
)
"""What else people keep in one file, by a stretch of a tensor's name."""
PredictionType = Literal["epsilon", "v_prediction"]
_PREDICTIONS: Final[Mapping[str, PredictionType]] = {
    "epsilon": "epsilon", "eps": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction",
    "v-prediction": "v_prediction",
}  # fmt: skip
_LOSSLESS: Final = {frozenset({"F16"}): "float16", frozenset({"BF16"}): "bfloat16"}


def recognise(path: Path) -> FamilyName:
    """The family of a whole checkpoint, from its header.

    Raises `InputError` for pickles, files of another kind or family, and checkpoints without VAE or text
    encoders; `ArtifactError` when the file is damaged.
    """
    if path.suffix.lower() in layout.PICKLES:
        remedy = "Take a version of the model in safetensors."
        raise InputError(
            "this kind of file can run code when it is opened", where=path, got=path.suffix, remedy=remedy
        )
    names = read_header(path).keys()
    known = " or ".join(row.checkpoint.title for row in ROWS.values() if row.checkpoint)
    needed = f"a whole checkpoint of {known}: UNet, VAE and text encoders"
    family = _family(names)
    if family is None or not _under(names, DENOISER):
        got = next((what for part, what in _OTHERS if any(part in name for name in names)), "")
        raise InputError("not a checkpoint that can be converted", where=path, got=got, needed=needed)
    if not _under(names, VAE + "decoder."):
        raise InputError("the checkpoint is not whole", where=path, got="no VAE", needed=needed)
    return family


def _family(names: Collection[str]) -> FamilyName | None:
    """Which text encoders the names belong to."""
    for row in ROWS.values():
        if row.checkpoint and all(key in names for key in row.checkpoint.encoders):
            return row.name
    return None


@dataclass(frozen=True, slots=True)
class NoiseProcess:
    """What a file says of the noise it was trained with.

    `prediction` is None when it says nothing; `zero_snr`: the last step is pure noise (Lin et al. 2024).
    """

    prediction: PredictionType | None
    zero_snr: bool


def noise_process(path: Path) -> NoiseProcess:
    """From the marker tensors of fine-tunes (`v_pred`, `ztsnr`) and `modelspec.prediction_type`.

    Raises `InputError` when these contradict each other, or name a prediction that no base here has.
    """
    header = read_header(path)
    about = str(header.get("__metadata__", {}).get("modelspec.prediction_type", "")).strip().lower()
    if about and about not in _PREDICTIONS:
        raise InputError("unsupported prediction type", where=path, got=about, needed="epsilon or v")
    stated = _PREDICTIONS[about] if about else None
    if "v_pred" in header and stated == "epsilon":
        raise InputError(
            "the checkpoint contradicts itself",
            where=path,
            got="a v_pred marker, and epsilon in its metadata",
        )
    zero_snr = "ztsnr" in header
    prediction: PredictionType | None = "v_prediction" if "v_pred" in header else stated
    if zero_snr and prediction == "epsilon":
        raise InputError("zero terminal SNR goes with v-prediction only", where=path, got="epsilon")
    return NoiseProcess(prediction, zero_snr)


def _keep_zero_snr(folder: Path) -> None:
    """Write into the scheduler's configuration what the checkpoint's marker says.

    The steps have to begin at the very last timestep then, which only `trailing` spacing does.
    """
    file = folder / "scheduler" / "scheduler_config.json"
    config = dict(layout.config_file(file))
    manifest.write_json_atomic(
        file, config | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    )


def convert(path: Path, family: FamilyName, configuration: Path, out: Path) -> None:
    """Write the checkpoint to the empty folder `out` in diffusers layout, in the file's own precision.

    `configuration` is a folder in diffusers layout, of which no weights are read.  Raises `InputError` when
    it describes networks of another shape.
    """
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging

    from portrait_lora.families import family_type

    kind = family_type(family)
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns of parts that it casts, on purpose here
    try:
        pipe: DiffusionPipeline = kind.pipeline_type.from_single_file(
            str(path),
            config=str(configuration),
            local_files_only=True,
            dtype=getattr(torch, _precision(path)),
            **kind.pipeline_options,
        )
        _whole(path, pipe)
    except (ValueError, KeyError, AttributeError, OSError, RuntimeError) as error:
        lacks = isinstance(error, NotImplementedError)  # torch's, for a weight that was never filled
        raise InputError(
            "the checkpoint does not fit the configuration",
            where=path,
            got="weights are lacking" if lacks else " ".join(str(error).split())[:200],
            needed=f"networks as in {configuration}",
            remedy="Give a folder of the model it was made from with --like.",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    pipe.save_pretrained(out, safe_serialization=True)
    if noise_process(path).zero_snr:
        _keep_zero_snr(out)


def _whole(path: Path, pipe: object) -> None:
    """`ValueError` unless every weight came from the file, and all that the file has is used."""
    names = read_header(path).keys()
    for part, prefixes in (("unet", (DENOISER,)), ("vae", _VAE_PARTS)):
        held, present = len(getattr(pipe, part).state_dict()), sum(n.startswith(prefixes) for n in names)
        if held != present:
            raise ValueError(f"{part}: {present} tensors in the file, {held} in the network")
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        module = getattr(pipe, part, None)
        lacking = [n for n, p in module.named_parameters() if p.is_meta] if module is not None else []
        if lacking:
            raise ValueError(f"{part}: the file lacks {lacking[0]} and {len(lacking) - 1} more")
        spoilt = (
            [n for n, p in module.named_parameters() if not p.isfinite().all()] if module is not None else []
        )
        if spoilt:
            raise ValueError(f"{part}: numbers that are not finite in {spoilt[0]}")


def _precision(path: Path) -> str:
    """The narrowest format of torch that holds every weight of the file exactly."""
    kinds = {
        str(entry.get("dtype"))
        for name, entry in read_header(path).items()
        if name.startswith((DENOISER, VAE, *_TEXT))
    }
    return _LOSSLESS.get(frozenset(k for k in kinds if "F" in k), "float32")


def _under(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
