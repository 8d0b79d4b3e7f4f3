"""Parts of a base model out of a folder or the hub's cache: safetensors only, no network, no foreign code."""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# diffusers is typed in part; what it returns is narrowed by the families.
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import torch
from accelerate import init_empty_weights  # pyright: ignore[reportMissingTypeStubs]
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import try_to_load_from_cache
from torch import nn
from transformers.utils import logging as transformers_logging

from portrait_lora.errors import InputError
from portrait_lora.families import layout
from portrait_lora.families.blocks import fill_outside_blocks
from portrait_lora.families.catalog import BaseModel
from portrait_lora.families.family import FlowSchedule, NoiseSchedule, Weights
from portrait_lora.families.peft_library import use_quantised_layers
from portrait_lora.families.tensor_files import TensorFiles

_T = TypeVar("_T")
DTYPES: Final[Mapping[Weights, torch.dtype]] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.bfloat16,
    "nf4": torch.bfloat16,
}
"""In which the weights compute."""


class Store:
    """The files of one base; those to train on, and with `generating` those to sample with."""

    def __init__(self, base: BaseModel):
        self.base = base
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()

    def config(self, kind: Any, part: str | None) -> Mapping[str, Any]:
        """The configuration of a part (None: the pipeline's index).  Raises as `open` does."""
        return self._told(lambda: kind.load_config(**self._where(part, generating=False)))

    def text_config(self, kind: Any, part: str) -> Any:
        """The configuration of a text encoder, an object of transformers.  Raises as `open` does."""
        return self._told(lambda: kind.config_class.from_pretrained(**self._where(part, generating=False)))

    def open(self, kind: Any, part: str | None, *, generating: bool = False, **more: object) -> Any:
        """`kind.from_pretrained` on a part, or on the whole.

        Raises `InputError` when it is not on this machine, or has no safetensors.
        """
        where = self._where(part, generating=generating)
        if part != "scheduler":
            more = {"use_safetensors": True, **more}
        return self._told(lambda: kind.from_pretrained(**where, **more))

    def open_plain(self, kind: Any, part: str) -> Any:
        """`kind.from_pretrained` on a part without weights.  Raises as `open` does."""
        return self._told(lambda: kind.from_pretrained(**self._where(part, generating=False)))

    def open_text(self, kind: Any, **more: object) -> Any:
        """`kind.from_pretrained` on the repository of a text encoder of others; raises as `open` does."""
        where = {"revision": self.base.text_revision, "local_files_only": True, "use_safetensors": True}
        return self._told(lambda: kind.from_pretrained(self.base.text_repo, **where, **more))

    def open_denoiser(self, kind: Any, part: str, weights: Weights, *, generating: bool = False) -> Any:
        """The denoiser held as `weights` says; quantised by bitsandbytes while it is read."""
        more: dict[str, object] = {"dtype": DTYPES[weights]}
        if weights in ("int8", "nf4"):
            from diffusers import BitsAndBytesConfig

            more["quantization_config"] = BitsAndBytesConfig(
                load_in_8bit=weights == "int8",
                load_in_4bit=weights == "nf4",
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=DTYPES[weights],
            )
            use_quantised_layers()
        return self.open(kind, part, generating=generating, **more)

    def open_by_files(self, kind: Any, part: str, dtype: torch.dtype) -> tuple[Any, TensorFiles]:
        """A denoiser whose repeated blocks are on the meta device, and the files that they are read from.

        Raises `InputError` when the weights are not on this machine, `ArtifactError` when they are not those
        of the configuration.
        """
        where = self._where(part, generating=False)
        config = self._told(lambda: kind.load_config(**where))
        with init_empty_weights():
            module = kind.from_config(dict(config))
        _hold(module, dtype)
        files = TensorFiles.of_folder(self._folder(part))
        fill_outside_blocks(module, files)
        return module, files

    def _folder(self, part: str) -> Path:
        """Where the files of a part lie."""
        if self.base.folder is not None:
            return self.base.folder / part
        found = try_to_load_from_cache(self.base.repo, f"{part}/config.json", revision=self.base.revision)
        if not isinstance(found, str):
            raise InputError(f"the weights of base {self.base.name!r} are not on this machine", got=part)
        return Path(found).parent

    def variance_preserving(self) -> NoiseSchedule:
        """The schedule of a base with a DDPM-like scheduler; `InputError` for other prediction types."""
        scheduler = self.open(DDPMScheduler, "scheduler")
        kind = str(scheduler.config["prediction_type"])
        if kind not in ("epsilon", "v_prediction"):
            raise InputError(
                "unsupported prediction type", where=self.base.source, got=kind, needed="epsilon or v"
            )
        return NoiseSchedule(scheduler.alphas_cumprod.to(torch.float32), kind)

    def flow(self, patch: int) -> FlowSchedule:
        """The schedule of a base with a flow-matching scheduler and tokens of `patch` latents a side."""
        config = self.config(FlowMatchEulerDiscreteScheduler, "scheduler")
        line: tuple[float, float, float, float] | None = None
        if config.get("use_dynamic_shifting"):
            line = (
                config.get("base_image_seq_len") or 256,
                config.get("base_shift") or 0.5,
                config.get("max_image_seq_len") or 4096,
                config.get("max_shift") or 1.15,
            )
        return FlowSchedule(float(config.get("shift") or 1.0), line, patch)

    def _where(self, part: str | None, *, generating: bool) -> dict[str, Any]:
        base = self.base
        where: dict[str, Any] = {"pretrained_model_name_or_path": base.source, "local_files_only": True}
        if base.folder is None:
            where["revision"] = base.generate_revision if generating else base.revision
            if generating:
                where["pretrained_model_name_or_path"] = base.generate_repo
        return where | ({"subfolder": part} if part else {})

    def _told(self, call: Callable[[], _T]) -> _T:
        """The call's answer; files that are not there are an `InputError`."""
        try:
            return call()
        except OSError as error:
            base = self.base
            fetch = f"Fetch it first ({base.download_gb:g} GB): portrait-lora pull {base.name}"
            raise InputError(
                f"the weights of base {base.name!r} are not on this machine",
                where=base.source,
                got=str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__,
                remedy="Is the folder whole, and in safetensors?" if base.folder else fetch,
            ) from error


def _hold(module: nn.Module, dtype: torch.dtype) -> None:
    """The precision that `from_pretrained` gives the weights: some classes keep their norms in float32.

    Buffers that are computed, and in no file, stay as they are: it does not touch them either.
    """
    kept = set(cast("Sequence[str] | None", getattr(module, "_keep_in_fp32_modules", None)) or ())
    computed = {name for name, _ in module.named_buffers()} - set(module.state_dict())
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and name not in computed:
            tensor.data = tensor.data.to(torch.float32 if kept & set(name.split(".")) else dtype)


def refuse_other_family(
    folder: Path, family: str, denoiser: str, kind: str, fits: Callable[[Mapping[str, object]], bool]
) -> None:
    """`InputError` unless the folder's index and its denoiser's configuration are of this family."""
    known = layout.read_layout(folder)
    config = layout.config_of(folder, denoiser)
    declared = config.get("_class_name", "nothing")
    if known.family != family or declared != kind or not fits(config):
        raise InputError(
            "the folder does not hold a base of this family",
            where=folder,
            got=f"{known.pipeline} with a {denoiser} of class {declared}",
            needed=f"{family} with {kind}",
        )
