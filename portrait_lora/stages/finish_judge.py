"""What finishing measures with: the face pack, the held-out photos, and the judge of likeness."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from portrait_lora import config, likeness, manifest, provenance
from portrait_lora.errors import InputError
from portrait_lora.evaluation import similarity
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.faces.packs import FacePack, resolve_pack
from portrait_lora.finishing.canvas import MIN_SIDE_PX, Canvas
from portrait_lora.finishing.look import Planned
from portrait_lora.finishing.step import Redraw
from portrait_lora.finishing.tools import FindModel, PictureTools
from portrait_lora.records import FloatArray, RGBImage
from portrait_lora.rights import consent
from portrait_lora.stages import finish_models

REFERENCE_FACE_PX: Final = 112
"""Size to which a larger face of a reference is reduced before steps are carried out on it."""


def no_model(name: str) -> Path:
    """Where nothing can be fetched."""
    raise finish_models.no_such(name)


@dataclass(frozen=True, slots=True)
class Models:
    """The face pack with both embedders, and the held-out photos of a likeness (none: no likeness)."""

    pack: FacePack
    finder: Analyzer
    reporter: Analyzer
    held_out: tuple[RGBImage, ...] = ()
    commercial: bool = False
    find_model: FindModel = no_model

    def tools(
        self,
        folder: Path,
        seed: int,
        redraw: Redraw | None = None,
        *,
        keeps: bool = False,
        mark: bytes = b"",
    ) -> PictureTools:
        """The tools of a chain whose files lie in `folder`."""
        return PictureTools(
            self.finder, folder, seed, self.find_model, keeps=keeps,
            studio=self.pack.synthetic, commercial=self.commercial, redraw=redraw, mark=mark,
        )  # fmt: skip


class SimilarityJudge:
    """See `chain.Judge`: the mean cosine of the largest face to that of every reference."""

    def __init__(self, models: Models, references: Sequence[RGBImage], folder: Path, seed: int):
        self._models, self._folder, self._seed = models, folder, seed
        self._pictures = tuple(references)
        self._known: dict[tuple[str, str], FloatArray] = {}
        self._small: tuple[Canvas, ...] | None = None
        self._after: dict[str, tuple[Canvas, ...]] = {}

    @property
    def has_photos(self) -> bool:
        """Whether there are held-out photos."""
        return bool(self._models.held_out)

    @property
    def threshold(self) -> float:
        """Embedder A's verification threshold."""
        return self._models.pack.threshold("select")

    def likeness(self, image_rgb: RGBImage, colours: Sequence[Planned]) -> float | None:
        """By embedder A; None without a face in the picture or in the references."""
        return self._mean_cosine(self._models.finder, image_rgb, colours)

    def reported(self, image_rgb: RGBImage, colours: Sequence[Planned]) -> float | None:
        """By embedder B."""
        return self._mean_cosine(self._models.reporter, image_rgb, colours)

    def _mean_cosine(self, finder: Analyzer, picture: RGBImage, colours: Sequence[Planned]) -> float | None:
        references_ND = self._references(finder, colours)
        face = similarity.subject_face(finder.find(picture)) if len(references_ND) else None
        return None if face is None else float((references_ND @ face.embedding).mean())

    def _references(self, finder: Analyzer, colours: Sequence[Planned]) -> FloatArray:
        """(N, D) of the references in which a face is found after those steps."""
        key = finder.embedder, manifest.digest([one.entry for one in colours])
        if key not in self._known:
            faces = [similarity.subject_face(finder.find(one.flat())) for one in self._coloured(colours)]
            rows = [face.embedding for face in faces if face is not None]
            self._known[key] = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
        return self._known[key]

    def _reduced(self) -> tuple[Canvas, ...]:
        """The references with faces of at most `REFERENCE_FACE_PX`: an embedder sees no more of them."""
        if self._small is None:
            self._small = tuple(_reduced(one, self._models.finder) for one in self._pictures)
        return self._small

    def _coloured(self, colours: Sequence[Planned]) -> tuple[Canvas, ...]:
        """The references after those steps; one that a step refuses is left out."""
        if not colours:
            return tuple(Canvas.of(one) for one in self._pictures)
        key = manifest.digest([one.entry for one in colours])
        if key not in self._after:
            *earlier, last = colours
            tools = self._models.tools(self._folder, self._seed)
            canvases: list[Canvas] = []
            for before in self._coloured(earlier) if earlier else self._reduced():
                tools.begin(len(earlier), "", before)
                with contextlib.suppress(InputError):
                    canvases.append(last.step.apply(before, last.settings, tools))
            self._after[key] = tuple(canvases)
        return self._after[key]


def _reduced(picture: RGBImage, finder: Analyzer) -> Canvas:
    face = similarity.subject_face(finder.find(picture))
    scale = 1.0 if face is None else REFERENCE_FACE_PX / face.size_px
    if scale >= 1:
        return Canvas.of(picture)
    size = tuple(max(MIN_SIDE_PX, round(side * scale)) for side in picture.shape[1::-1])
    return Canvas.of(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))


def open_models(root: Path | None, files: Sequence[Path], overrides: Sequence[str]) -> Models:
    """The face pack of the likeness, or that of the settings for a picture from elsewhere."""
    if root is not None:
        consent.require_purposes(root, "portraits")
    settings = (likeness.open_likeness(root, overrides).config) if root else config.load(None, overrides)
    pack = resolve_pack(settings.face_pack)
    _refuse_unknown_world(pack, files, settings.allow_synthetic_models)
    finder, reporter = open_analyzer(pack, "select"), open_analyzer(pack, "report")
    photos: Sequence[Path] = ()
    if root is not None and (root / "dataset" / "manifest.json").is_file():
        from portrait_lora.dataset.build import load_dataset_folder

        _, photos = load_dataset_folder(root / "dataset")
    held_out = tuple(similarity.read_rgb(photo) for photo in photos)
    return Models(pack, finder, reporter, held_out, settings.commercial, finish_models.finder(root))


def _refuse_unknown_world(pack: FacePack, files: Sequence[Path], allowed: bool) -> None:
    """The embedded pack measures the studio only; portraits drawn here carry their own mark."""
    if not pack.synthetic or allowed:
        return
    known = (provenance.TRAINED, provenance.ALGORITHMIC)
    real = [f for f in files if provenance.source_type(f) not in known]
    if real:
        raise InputError(
            "the embedded face pack knows only the synthetic studio, and this looks like a real photograph",
            where=real[0],
            needed="a face pack made for photographs",
            remedy="Name one with -s face_pack=NAME, or go on all the same with --allow-synthetic-models.",
        )
