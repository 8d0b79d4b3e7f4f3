"""The content of pack.json, key by key: validated here, and printed as a JSON Schema by `pack schema`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Similarity = Annotated[float, Field(ge=-1, le=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]
Scales = Annotated[list[Positive], Field(min_length=3, max_length=3)]
Template = Annotated[list[Point], Field(min_length=5, max_length=5)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Models(_Part):
    """File names, relative to the pack."""

    detector: str = Field(description="SCRFD layout for insightface, YuNet for opencv")
    landmarks: str | None = Field(None, description="68 landmarks (insightface only); gives pose")
    embedder_select: str = Field(description="the embedder that curates photos and chooses checkpoints")
    embedder_report: str = Field(description="another embedder, that measures what is published")
    impostors: str | None = Field(None, description="embeddings of other people, made by `gallery`")


class Roles(_Part):
    """The id of the embedder of each role, as it stands in reports."""

    select: str
    report: str


class Stated(_Part):
    """Preprocessing of an embedder."""

    side_px: int = Field(gt=0, le=1024, description="side of the square input in pixels")
    colour: Literal["RGB", "BGR"] = Field(description="channel order of the input")
    mean: float | Channels = Field(description="subtracted, scale 0 to 255, in the order of `colour`")
    std: Positive | Scales = Field(description="divided by, scale 0 to 255, in the order of `colour`")
    template: Literal["arcface"] | Template = Field(
        "arcface", description="`arcface`, or [x, y] of both eyes, nose and mouth corners in the input"
    )


class Published(_Part):
    """Similarities between different people, as published."""

    mean: float = Field(ge=-1, lt=1, description="mean cosine of different people")
    false_match_rate: Rate = Field(description="share of such pairs at or above the threshold")
    source: str = Field(description="where that is published")


class DerivedFrom(_Part):
    """A threshold derived from the gallery's people, and its derivation."""

    similarity: Similarity = Field(description="the threshold, used instead of the one in `thresholds`")
    false_match_rate: Rate = Field(description="share of other people's pictures that reach it")
    references: int = Field(gt=0, description="photos per person that a picture is compared with")
    people: int = Field(gt=1)
    impostor_comparisons: int = Field(gt=0)
    genuine_comparisons: int = Field(gt=0)
    genuine_accepted: float = Field(ge=0, le=1, description="share of the same people's pictures that pass")


class Attributes(_Part):
    """A network of attributes, in heads/."""

    file: str
    groups: dict[str, list[str]]
    covered: bool = False


class Segmenter(_Part):
    """A network of parts of the head, in heads/."""

    file: str
    parts: list[str]


class Head(_Part):
    """A small network on landmarks."""

    mean: list[float]
    scale: list[float]
    weights: list[list[list[float]]]
    biases: list[list[float]]
    labels: list[str]


class PackFile(_Part):
    """pack.json of a face pack."""

    format: Literal[1]
    name: str = Field(min_length=1)
    synthetic: bool = Field(description="true only for networks trained on the synthetic studio")
    licence: str = Field(description="licence of the networks, in words")
    commercial: Literal["yes", "no", "unknown"] = Field(description="whether commercial use is allowed")
    backend: Literal["insightface", "opencv"] = Field(
        "insightface", description="insightface for a detector of the SCRFD layout, opencv for YuNet"
    )
    models: Models
    embedder_ids: Roles
    preprocessing: dict[str, Stated] = Field(
        default_factory=dict,
        description="by embedder id; without an entry insightface guesses it from the graph",
    )
    kinds: dict[str, Literal["arcface", "sface"]] = Field(
        default_factory=dict, description="by embedder id; `sface` is run by OpenCV's FaceRecognizerSF"
    )
    files: dict[str, str] = Field(description="sha256 of every file of the pack")
    align: Literal["detector", "landmarks"] = Field(
        "detector", description="source of the five keypoints that faces are aligned on"
    )
    attributes: Attributes | None = None
    segmenter: Segmenter | None = None
    det_size_px: int = Field(gt=0, description="pictures are reduced to this side for the detector")
    det_thresh: Rate = Field(description="least score of a face")
    false_match_rate: Rate = Field(description="rate that calibrated thresholds are stated for")
    thresholds: dict[str, Similarity] = Field(description="by embedder id: same person from this cosine on")
    threshold_notes: dict[str, str] = Field(default_factory=dict, description="their provenance, in words")
    calibrated: bool = Field(
        True, description="whether `thresholds` were calibrated with this program's statistic"
    )
    derived: dict[str, DerivedFrom] = Field(
        default_factory=dict, description="by embedder id: thresholds that `gallery` derived"
    )
    strangers: dict[str, Published] = Field(
        default_factory=dict, description="by embedder id: published figures, used without a gallery"
    )
    pose_calibration: Head | None = None
    expression_model: Head | None = None
    accepted: str = Field("", description="the failed sanity test that `--accept` overruled, in words")

    @model_validator(mode="after")
    def _ids(self) -> PackFile:
        """Entries by embedder id belong to an embedder of the pack."""
        ids = {self.embedder_ids.select, self.embedder_ids.report}
        for key in ("preprocessing", "derived"):
            for unknown in sorted(set(getattr(self, key)) - ids):
                raise ValueError(f"{key} names {unknown!r}, which is not an embedder of the pack")
        for one in sorted(ids):
            if one in self.preprocessing and self.kinds.get(one) == "sface":
                raise ValueError(f"{one} is of kind sface, whose preprocessing is FaceRecognizerSF's own")
        return self


def problem(raw: object) -> tuple[str, str] | None:
    """(kind, description) of what is wrong with the content of pack.json; None when it is right."""
    try:
        PackFile.model_validate(raw)
    except ValidationError as error:
        first = next(
            (e for e in error.errors() if e["type"] == "extra_forbidden"),
            error.errors()[0],
        )
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            return "an unknown key", place
        return "a missing or malformed field", f"{place}: {first['msg']}" if place else first["msg"]
    return None


def schema() -> dict[str, Any]:
    """JSON Schema of pack.json."""
    return PackFile.model_json_schema()
