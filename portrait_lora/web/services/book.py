"""The prompt book as a form: series of one's own, written as the YAML that the command line draws too.

A series lies in `portraits/NAME.yaml` of the likeness folder.  It is checked by the same reader and linter
that judge it when it is drawn.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from portrait_lora import manifest, strict_yaml, vocabulary
from portrait_lora.config import LikenessConfig
from portrait_lora.errors import ConfigError, InputError, PortraitError
from portrait_lora.families import catalog
from portrait_lora.generation import book, prompts, reading, series, templates
from portrait_lora.generation.compose import LAYERS
from portrait_lora.tasks import lint

MOST_SHOTS: Final = 200
_at_work: Final = threading.Lock()
Words = Annotated[str, StringConstraints(max_length=2000, strip_whitespace=True)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]
LABELS: Final[Mapping[str, str]] = {
    "style": "Style", "view": "View", "facing": "Facing", "shot": "Framing", "hair": "Hair", "skin": "Skin",
    "makeup": "Make-up", "beard": "Beard", "glasses": "Glasses", "hat": "Hat", "expression": "Expression",
    "wardrobe": "Clothes", "setting": "Background", "lighting": "Light", "light_side": "Light from",
    "camera": "Lens", "texture": "Detail", "grade": "Colour",
}  # fmt: skip
FIRST: Final = ("view", "shot", "expression", "wardrobe", "setting", "lighting")
"""The layers that are asked first; the others are behind a fold."""


class Shot(BaseModel):
    """One shot of the form: own words, or a template, or layers alone."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(max_length=60, strip_whitespace=True)] = ""
    prompt: Words = ""
    template: Annotated[str, StringConstraints(max_length=60)] = ""
    count: Annotated[int, Field(ge=1, le=50)] | None = None
    layers: Annotated[dict[str, Words], Field(max_length=len(LAYERS))] = {}


class Draft(BaseModel):
    """A series as the form has it."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    aspect: Annotated[str, StringConstraints(pattern=r"^(\d{1,2}:\d{1,2})?$")] = ""
    negative_prompt: Words = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    locked: Annotated[dict[str, Words], Field(max_length=len(LAYERS))] = {}
    shots: Annotated[list[Shot], Field(min_length=1, max_length=MOST_SHOTS)]

    @property
    def slug(self) -> str:
        """The name of file and folder."""
        return reading.slug(self.name)

    def tree(self) -> dict[str, object]:
        """The series as its YAML has it; what is empty is left out."""
        top: dict[str, object] = {"series": self.slug}
        top |= {"seed": self.seed} if self.seed else {}
        top |= {"aspect": self.aspect} if self.aspect else {}
        top |= {"negative_prompt": self.negative_prompt} if self.negative_prompt else {}
        locked = {k: v for k, v in self.locked.items() if v}
        top |= {"locked": locked} if locked else {}
        top["shots"] = [_shot(one) for one in self.shots]
        return top


@dataclass(frozen=True, slots=True)
class Checked:
    """The prompts of a draft as they would be drawn, each with its remarks; or what is wrong with it."""

    prompts: tuple[lint.LintedPrompt, ...]
    error: str

    def json_value(self) -> dict[str, object]:
        """For the page."""
        return {"prompts": [row.json_value() for row in self.prompts], "error": self.error}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words by layer to choose from; `closed` when the base knows no others."""

    closed: bool
    words: Mapping[str, tuple[str, ...]]
    templates: tuple[tuple[str, str], ...]


def vocabulary_of(base: str) -> Vocabulary:
    """What can be asked of a base, by layer.  Raises `InputError` for an unknown base."""
    model = catalog.resolve_base(base)
    known = prompts.known_words(model)
    shown = templates.TEMPLATES if known is None else templates.drawable(known)
    words = _open_words() if known is None else _closed_words(known)
    return Vocabulary(known is not None, words, tuple((t.name, t.group) for t in shown))


def _closed_words(known: frozenset[str]) -> dict[str, tuple[str, ...]]:
    v = vocabulary
    coloured = tuple(f"{c} {b}" for b in v.BACKDROPS for c in v.BACKDROP_COLOURS)
    listed: dict[str, tuple[str, ...]] = {
        "view": v.VIEWS, "facing": v.FACINGS, "shot": v.SHOTS, "expression": v.EXPRESSIONS,
        "wardrobe": tuple(f"{c} {g}" for g in v.GARMENTS for c in v.GARMENT_COLOURS),
        "setting": (*coloured, *v.PLACES), "lighting": v.ALL_LIGHTINGS,
        "light_side": v.LIGHT_SIDES, "glasses": v.ALL_GLASSES, "makeup": v.MAKEUP, "beard": v.BEARDS,
        "style": v.STYLES, "hat": ("no hat", *(f"{c} {h}" for h in v.HATS[1:] for c in v.GARMENT_COLOURS)),
    }  # fmt: skip
    return {k: kept for k, ws in listed.items() if (kept := tuple(w for w in ws if set(w.split()) <= known))}


def _open_words() -> dict[str, tuple[str, ...]]:
    return {
        "view": ("frontal", "three-quarter view", "profile"),
        "shot": tuple(s.phrase for s in book.SHOTS),
        "expression": ("neutral", "smiling", "laughing", "a calm, closed smile", "serious"),
        "setting": book.BACKDROPS,
        "lighting": tuple(light.phrase for light in book.LIGHTS),
        "camera": tuple(f"{lens.phrase}" for lens in book.LENSES),
        "texture": tuple(dict.fromkeys(s.surface for s in book.STYLES)),
        "grade": (*book.FILMS, *(s.phrase for s in book.STYLES)),
    }


def _shot(one: Shot) -> dict[str, object]:
    row: dict[str, object] = {"name": one.name} if one.name else {}
    row |= {"prompt": one.prompt} if one.prompt else {"template": one.template} if one.template else {}
    row |= {"count": one.count} if one.count else {}
    return row | {k: v for k, v in one.layers.items() if v}


def checked(draft: Draft, config: LikenessConfig) -> Checked:
    """The prompts as they would be drawn, with the linter's remarks; nothing is kept."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{draft.slug}.yaml"
        path.write_text(_text(draft), encoding="utf-8")
        try:
            with _at_work:  # the tokenizer's library may not be imported by two threads at once
                rows = lint.lint_text(str(path), config.base)
        except PortraitError as error:
            return Checked((), error.message().replace(f"{path}: ", "").replace(str(path), draft.slug))
    who = f"{config.subject.trigger} {config.subject.kind}"
    return Checked(
        tuple(row.model_copy(update={"prompt": row.prompt.replace("ohwx person", who)}) for row in rows), ""
    )


def save(root: Path, draft: Draft, config: LikenessConfig, *, replace: bool = False) -> Path:
    """Write the series; the path of its file.

    Raises `ConfigError` for one that cannot be drawn, `InputError` where another series has the name.
    """
    judged = checked(draft, config)
    if judged.error:
        raise ConfigError(judged.error, where=draft.slug)
    path, text = own_file(root, draft.slug), _text(draft)
    packaged = draft.slug in {p.stem for p in packaged_files()}
    if packaged or (path.is_file() and path.read_text(encoding="utf-8") != text and not replace):
        raise InputError(
            "there is a series of this name already",
            where=draft.name,
            needed="another name" + ("" if packaged else ", or a yes to replacing it and its portraits"),
        )
    manifest.make_folder(path.parent)
    manifest.write_text_atomic(path, text)
    return path


def own_file(root: Path, name: str) -> Path:
    """Where a series of one's own lies."""
    return root / "portraits" / f"{reading.slug(name)}.yaml"


def own_series(root: Path) -> tuple[str, ...]:
    """The names of the series that were written for this person."""
    folder = root / "portraits"
    return tuple(sorted(p.stem for p in folder.glob("*.yaml") if p.is_file())) if folder.is_dir() else ()


def packaged_files() -> list[Path]:
    """The files of the shipped series."""
    return [series.series_path(name) for name in _packaged_names()]


@lru_cache(maxsize=1)
def _packaged_names() -> tuple[str, ...]:
    from portrait_lora.config import configs_dir

    return tuple(sorted(p.stem for p in (configs_dir() / "series").glob("*.yaml")))


def draft_of(root: Path, name: str) -> Draft:
    """A series as a draft, to begin another one from it."""
    own = own_file(root, name)
    path = own if own.is_file() else series.series_path(name)
    top = cast(dict[str, Any], strict_yaml.load(path, "series") or {})
    rows: list[dict[str, Any]] = []
    for raw in cast(list[dict[str, Any]], top.get("shots") or []):
        row: dict[str, Any] = {k: str(raw[k]) for k in ("name", "prompt", "template") if k in raw}
        row |= {"count": raw["count"]} if "count" in raw else {}
        rows.append(row | {"layers": {k: str(v) for k, v in raw.items() if k in LAYERS}})
    if not rows:
        entries, locked = series.read_series(path).entries, set(top.get("locked") or {})
        rows = [
            {"name": e.name, "layers": {k: v for k, v in e.layers.items() if k not in locked}}
            for e in entries
        ]
    return Draft.model_validate(
        {
            "name": name if own.is_file() else f"my {name}",
            "aspect": str(top.get("aspect", "")),
            "negative_prompt": str(top.get("negative_prompt") or ""),
            "seed": top.get("seed", 0),
            "locked": {k: str(v) for k, v in (top.get("locked") or {}).items()},
            "shots": rows,
        }
    )


def _text(draft: Draft) -> str:
    return yaml.safe_dump(draft.tree(), sort_keys=False, allow_unicode=True, width=1000)


Kind = Literal["", "portrait", "edit", "finished"]
