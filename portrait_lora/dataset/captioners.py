"""Choice of captioner: the built-in one, files beside the photos, or a vision-language model."""

from __future__ import annotations

from dataclasses import dataclass

from portrait_lora.dataset.caption import AttributesCaptioner, Captioner
from portrait_lora.dataset.caption_models import ModelCaptioner, transformers_describer
from portrait_lora.dataset.crop import Framing
from portrait_lora.dataset.photograph_caption import PhotographCaptioner
from portrait_lora.dataset.sidecars import METADATA, caption_of, read_metadata
from portrait_lora.errors import InputError
from portrait_lora.records import Face, RGBImage


def choose_captioner(
    kind: str, *, trigger: str, subject: str, words: str = "", model: str = "", photographs: bool = False
) -> Captioner:
    """The captioner of a configuration: `attributes`, `sidecar`, `florence2` or `blip`.

    `words` are added to every caption.  Of `photographs` the built-in captioner writes only what is sure: the
    rules for the studio rest on its one-coloured clothes and made backdrops.  Models are loaded at the first
    caption.  Raises InputError for an unknown kind.
    """
    built_in: Captioner = AttributesCaptioner(trigger, subject)
    if photographs:
        built_in = PhotographCaptioner(trigger, subject)
    if kind == "attributes":
        chosen = built_in
    elif kind == "sidecar":
        chosen = SidecarCaptioner(built_in)
    elif kind in ("florence2", "blip"):
        chosen = ModelCaptioner(trigger, subject, transformers_describer(kind, model))
    else:
        raise InputError("unknown captioner", got=kind, needed="attributes, sidecar, florence2 or blip")
    extra = " ".join(words.split()).strip(",. ")
    return WordsCaptioner(chosen, extra) if extra else chosen


@dataclass(frozen=True, slots=True)
class WordsCaptioner:
    """Another captioner's text with the user's own words appended."""

    first: Captioner
    words: str

    def caption(self, image_rgb: RGBImage, face: Face, crop: Framing) -> str:
        """`…, red beard`; nothing is repeated."""
        text = self.first.caption(image_rgb, face, crop)
        return text if self.words.lower() in text.lower() else f"{text}, {self.words}"


@dataclass(frozen=True, slots=True)
class SidecarCaptioner:
    """The text file beside the photo (`IMG_1.jpg` → `IMG_1.txt`), else its line in the `metadata.jsonl`
    of the folder, else another captioner."""

    otherwise: Captioner

    def caption(self, image_rgb: RGBImage, face: Face, crop: Framing) -> str:
        """The sidecar's text on one line.  Raises InputError when a file cannot be parsed."""
        rows = read_metadata(crop.source.parent / METADATA)
        text = caption_of(crop.source, rows)
        return text or self.otherwise.caption(image_rgb, face, crop)
