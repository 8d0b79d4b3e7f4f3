"""How sure networks of the administrator's choice are that a prompt or a drawn picture must not be.

A classifier that is configured and cannot be used is an error, never a pass: nothing is drawn then.
Weights are safetensors, read from this machine alone, and no code of a repository runs.
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from PIL import Image

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError, ConfigError, PortraitError
from portrait_lora.rights import guard_models
from portrait_lora.rights.guard_models import CATALOGUE, DIGESTS, WEIGHTS, Kind
from portrait_lora.rights.policy import Classifier, place

_MOST_TOKENS: Final = 512
_STRIDE: Final = 64


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a classifier says: its name, and how sure it is, 0..1, of the labels that are refused."""

    classifier: str
    score: float
    refused: bool

    @property
    def words(self) -> str:
        """For errors and the log."""
        return f"{self.classifier} {self.score:.2f}"


def judge_text(rule: Classifier, text: str) -> Judgement:
    """A whole prompt, in overlapping pieces where it is longer than the network reads.  Raises as `ready`."""
    return _judged(rule, _text_score(*_asked(rule, "text"), text))


def judge_picture(rule: Classifier, picture: Image.Image) -> Judgement:
    """A drawn picture.  Raises as `ready`."""
    network = _opened(*_asked(rule, "pictures"))
    inputs = network.reader(images=picture.convert("RGB"), return_tensors="pt")
    return _judged(rule, network.score(inputs))


def ready(rule: Classifier, kind: Kind) -> None:
    """Open it.  Raises `ConfigError` for one that is not here or of another kind, `ArtifactError` for files
    that are not those that were fetched, or no such network."""
    _opened(*_asked(rule, kind))


def _judged(rule: Classifier, score: float) -> Judgement:
    # A score that is no number refuses as well.
    return Judgement(rule.model, score, not score < rule.threshold)


@dataclass(frozen=True)
class _Network:
    model: Any
    reader: Any
    columns: tuple[int, ...]

    def score(self, inputs: Any) -> float:
        """The highest score of the refused labels over the rows."""
        import torch

        with torch.no_grad():
            logits = self.model(**inputs).logits.float()
        alone = logits.shape[-1] == 1 or self.model.config.problem_type == "multi_label_classification"
        scores = logits.sigmoid() if alone else logits.softmax(-1)
        refused = scores[:, list(self.columns)]
        return float((refused.amax(-1) if alone else refused.sum(-1)).max())


def _asked(rule: Classifier, kind: Kind) -> tuple[Path, tuple[str, ...], Kind]:
    """The folder of the rule's network, and the labels that it refuses."""
    where = f"{place()}: guard"
    known = CATALOGUE.get(rule.model)
    if known is not None:
        if known.kind != kind:
            raise ConfigError(
                f"this classifier reads {known.kind}", where=where, got=rule.model, needed=f"one of {kind}"
            )
        folder = guard_models.installed(known)
        if folder is None:
            raise ConfigError(
                "the guard's classifier is not on this machine, and nothing is drawn without it",
                where=where,
                got=rule.model,
                remedy=f"Fetch it: portrait-lora pull {rule.model}",
            )
        return folder, rule.labels or known.refused, kind
    folder = Path(rule.model)
    if not folder.is_absolute() or not (folder / WEIGHTS).is_file():
        names = ", ".join(sorted(name for name, model in CATALOGUE.items() if model.kind == kind))
        raise ConfigError(
            "the guard's classifier is not here, and nothing is drawn without it",
            where=where,
            got=rule.model,
            needed=f"{names}, or the whole path of a folder with {WEIGHTS}",
        )
    if not rule.labels:
        raise ConfigError(
            "it is not said which of its labels are refused",
            where=where,
            got=rule.model,
            needed="`labels` of the classifier",
        )
    return folder, rule.labels, kind


@lru_cache(maxsize=4)
def _opened(folder: Path, labels: tuple[str, ...], kind: Kind) -> _Network:
    _compare(folder)
    try:
        import transformers

        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if kind == "text":
            reader: Any = transformers.AutoTokenizer.from_pretrained(folder, **local)
            network: Any = transformers.AutoModelForSequenceClassification
        else:
            reader = transformers.AutoImageProcessor.from_pretrained(folder, **local)
            network = transformers.AutoModelForImageClassification
        model, report = network.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **local
        )
    except Exception as error:  # its readers answer damaged files with nearly any type
        raise ArtifactError(
            "the guard's classifier cannot be read", where=folder, got=str(error)[:200]
        ) from error
    if report["missing_keys"]:  # these would be random numbers
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ArtifactError("the guard's classifier lacks weights", where=folder, got=missing)
    names = {str(name).lower(): int(column) for column, name in model.config.id2label.items()}
    unknown = [label for label in labels if label.lower() not in names]
    if unknown:
        raise ConfigError(
            "the guard's classifier has no such label", where=folder, got=", ".join(unknown),
            needed=", ".join(sorted(names)),
        )  # fmt: skip
    return _Network(model.eval(), reader, tuple(names[label.lower()] for label in labels))


@lru_cache(maxsize=4096)
def _text_score(folder: Path, labels: tuple[str, ...], kind: Kind, text: str) -> float:
    network = _opened(folder, labels, kind)
    most = min(_MOST_TOKENS, int(network.reader.model_max_length))
    pieces: Any = network.reader(
        text, truncation=True, max_length=most, stride=min(_STRIDE, most // 4), padding=True,
        return_overflowing_tokens=True, return_tensors="pt",
    )  # fmt: skip
    kept = ("input_ids", "attention_mask", "token_type_ids")
    return network.score({key: pieces[key] for key in kept if key in pieces})


def _compare(folder: Path) -> None:
    """Raise `ArtifactError` unless all files are those that were fetched; one's own folder has no list."""
    if not (folder / DIGESTS).is_file():
        return
    try:
        stated = strict_json.load_object(folder / DIGESTS, "list of files")
    except PortraitError as error:
        raise ArtifactError("the guard's classifier is damaged", where=folder, got=error.what) from error
    for name, digest in stated.items():
        if not (folder / name).is_file() or manifest.sha256_file(folder / name) != digest:
            raise ArtifactError(
                "a file of the guard's classifier is not the one that was fetched", where=folder / name,
                remedy="Remove the folder, and pull it again.",
            )  # fmt: skip
