"""The shapes of what the API answers, for type checkers; written by `scripts/web_client.py`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Caption(TypedDict):
    """The caption of one training crop; `version` goes into If-Match when it is changed."""

    id: str
    file: str
    photo: str
    text: str
    version: str
    lacks_trigger: bool
    picture: str | None


class CaptionPage(TypedDict):
    """Some captions, and the cursor of the next page."""

    items: list[Caption]
    next: str | None


class Check(TypedDict):
    """One check of the machine."""

    name: str
    status: Literal["ok", "warn", "fail"]
    observed: str
    remedy: str


class Delivery(TypedDict):
    """A message: `waiting`, `delivered` or `failed`; `status` is the receiver's last answer."""

    id: str
    kind: str
    job: str
    created: float
    attempts: int
    state: Literal["waiting", "delivered", "failed"]
    status: int | None
    error: str


class DeliveryList(TypedDict):
    """The newest messages of a webhook."""

    items: list[Delivery]


class DetectedMarks(TypedDict):
    """What one file carries; `problem` says why it was not read."""

    file: str
    verdict: Literal["both layers", "metadata alone", "watermark alone", "no marks", "not read"]
    generated: bool
    metadata_type: str | None
    credentials: SignedMark | None
    watermark: PixelMark | None
    problem: str


class Detection(TypedDict):
    """All files, in their order, and how often an unmarked one is called watermarked, by design."""

    files: list[DetectedMarks]
    false_positive_rate: float
    watermark: str


class Doctor(TypedDict):
    """Whether this machine is ready."""

    ready: bool
    checks: list[Check]


class Finding(TypedDict):
    """One remark on a photo; `figures` is what was measured and what is needed."""

    code: str
    title: str
    severity: str
    figures: str
    advice: str


class Fleet(TypedDict):
    """A fleet: of the people that the user may look at; null where nothing is known yet."""

    id: str
    name: str
    people: int
    over: int
    counts: dict[str, int]
    share_of_ceiling: float | None
    seconds_per_step: float | None
    workers: int
    spent_device_s: float
    left_device_s: float | None
    left_device_ci95: list[float] | None
    left_s: float | None
    price_per_hour: float | None
    cost: float | None
    cost_in_all: float | None


class FleetEvent(TypedDict):
    """One change."""

    number: int
    time: float
    likeness: str
    kind: str
    state: str
    worker: str
    reason: str
    progress: dict[str, Any]


class FleetEvents(TypedDict):
    """Changes, and the number of the last one."""

    items: list[FleetEvent]
    last: int


class FleetFigures(TypedDict):
    """The likeness of one person; cosines, and shares from 0 to 1."""

    similarity: float
    ci95: list[float]
    ceiling: float
    share_of_ceiling: float | None
    verified_rate: float
    face_found_rate: float
    copy_score: float | None
    portraits: int


class FleetList(TypedDict):
    """All of them."""

    items: list[Fleet]


class FleetPeople(TypedDict):
    """Some people, and the cursor of the next page."""

    items: list[FleetPerson]
    next: str | None


class FleetPerson(TypedDict):
    """Somebody of a fleet; `job` is empty where this studio does not do the work."""

    likeness: str
    name: str
    groups: list[str]
    state: Literal[
        "waiting", "running", "succeeded", "needs_photos", "needs_consent", "set_aside", "forgotten"
    ]
    outlier: str
    reason: str
    advice: list[str]
    figures: FleetFigures | None
    tries: int
    starts: int
    device_s: float
    steps: int
    worker: str
    progress: dict[str, Any]
    job: str


class Forgotten(TypedDict):
    """The receipt of `forget`."""

    id: str
    receipt: Any


class Job(TypedDict):
    """A job; `result` is that of its kind, with paths relative to the likeness folder."""

    id: str
    kind: str
    likeness: str
    owner: str
    arguments: dict[str, Any]
    state: Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
    priority: int
    device: str
    created: float
    started: float | None
    ended: float | None
    attempts: int
    exit_code: int | None
    cancel_requested: bool
    progress: dict[str, Any] | None
    result: Any
    error: JobError | None
    events: str


class JobError(TypedDict):
    """Why a job failed."""

    what: NotRequired[str]
    where: NotRequired[str]
    got: NotRequired[str]
    needed: NotRequired[str]
    remedy: NotRequired[str]
    message: NotRequired[str]
    exit_code: NotRequired[int]


class JobEvent(TypedDict):
    """One event of a job; `kind` is state, progress, log, metric or result."""

    number: int
    time: float
    kind: str
    data: dict[str, Any]


class JobEvents(TypedDict):
    """Events behind a number, oldest first; `last` goes into `after` of the next call."""

    items: list[JobEvent]
    last: int


class JobPage(TypedDict):
    """Some jobs, newest first, and the cursor of the next page."""

    items: list[Job]
    next: str | None


class Likeness(TypedDict):
    """One person: what is there of them."""

    id: str
    name: str
    owner: str
    kind: str
    created: float
    photos: int
    consent: bool
    trained: bool
    scored: bool
    series: list[str]


class LikenessPage(TypedDict):
    """Some people, and the cursor of the next page."""

    items: list[Likeness]
    next: str | None


class Lint(TypedDict):
    """All remarks on a prompt."""

    remarks: list[Remark]


class Look(TypedDict):
    """A shipped look of finishing and its steps."""

    name: str
    about: str
    steps: list[str]


class LookList(TypedDict):
    """All shipped looks."""

    items: list[Look]


class Me(TypedDict):
    """Who is asking."""

    name: str
    role: str
    scopes: list[str]


class Models(TypedDict):
    """Base models and face packs, as of `portrait-lora models --json`."""

    models: list[dict[str, Any]]
    face_packs: list[dict[str, Any]]


class PackagedSeries(TypedDict):
    """A shipped series and its shots."""

    name: str
    shots: list[str]


class PackagedSeriesList(TypedDict):
    """All shipped series."""

    items: list[PackagedSeries]


class Photo(TypedDict):
    """One photo, what the last check found on it (None before one), and what was decided by hand."""

    id: str
    name: str
    sha256: str
    bytes: int
    verdict: str
    accepted: bool | None
    findings: list[Finding]
    size_px: list[int] | None
    box_px: list[float] | None
    view: str
    expression: str
    turn_deg: int
    crop: list[float]
    accepted_anyway: bool
    shows: Literal["same", "other", ""]
    pending: bool
    picture: str


class PhotoPage(TypedDict):
    """Some photos, and the cursor of the next page."""

    items: list[Photo]
    next: str | None


class Picture(TypedDict):
    """A picture that was drawn."""

    id: str
    name: str
    series: str
    kind: Literal["portrait", "edit", "finished"]
    look: str
    size_px: list[int] | None
    prompt: str
    seed: int | None
    similarity: float | None
    digital_source_type: str
    picture: str
    file: str


class PictureDetails(TypedDict):
    """The same with every step of how it was made."""

    id: str
    name: str
    series: str
    kind: Literal["portrait", "edit", "finished"]
    look: str
    size_px: list[int] | None
    prompt: str
    seed: int | None
    similarity: float | None
    digital_source_type: str
    picture: str
    file: str
    history: list[dict[str, Any]]


class PicturePage(TypedDict):
    """Some pictures, and the cursor of the next page."""

    items: list[Picture]
    next: str | None


class PixelMark(TypedDict):
    """The watermark; `whole` is False where a part of the picture lacks it."""

    tool: str
    picture: str
    confidence: float
    corrected_bits: int
    whole: bool


class Problem(TypedDict):
    """An error by RFC 9457, with what, where, got, needed and remedy."""

    type: str
    title: str
    status: int
    detail: str
    what: NotRequired[str]
    where: NotRequired[str]
    got: NotRequired[str]
    needed: NotRequired[str]
    remedy: NotRequired[str]


class Received(TypedDict):
    """What became of one file: `added`, `already` there under this id, or `refused` with its problem."""

    name: str
    state: Literal["added", "already", "refused"]
    id: str | None
    problem: Problem | None


class ReceivedAll(TypedDict):
    """What became of all files, in their order."""

    items: list[Received]


class RecordedConsent(TypedDict):
    """The consent that is recorded, and whether it covers everything today; `problem` says what not."""

    needed: bool
    recorded: bool
    who: str
    purposes: list[str]
    until: str
    recorded_on: str
    by: str
    guardian: str
    born: str
    photos: int
    missing: int
    covers: bool
    problem: str
    statement: str


class Remark(TypedDict):
    """What weakens a prompt, and what to write instead."""

    code: str
    problem: str
    instead: str


class Replaced(TypedDict):
    """How many captions were changed, or would be."""

    count: int


class Report(TypedDict):
    """A report as it lies in the likeness folder."""

    report: dict[str, Any]


class Sent(TypedDict):
    """A message that was put down for sending."""

    id: str


class Series(TypedDict):
    """A series that was drawn, with its numbers of pictures."""

    name: str
    portraits: int
    edits: int
    finished: int


class SeriesList(TypedDict):
    """All series of a person."""

    items: list[Series]


class SignedMark(TypedDict):
    """Signed credentials (C2PA) of a picture; `origin` says what is known of the signer."""

    state: Literal["trusted", "valid", "invalid"]
    origin: Literal["this machine", "trusted authority", "unverified", "broken"]
    signer: str
    generator: str
    altered: bool
    digital_source_type: str | None
    signed_at: str | None
    actions: list[str]
    before: list[str]
    problems: list[str]


class Token(TypedDict):
    """A token without its secret."""

    id: str
    name: str
    scopes: list[Literal["read", "write"]]
    created: float
    expires: float


class TokenList(TypedDict):
    """The tokens of the user who asks."""

    items: list[Token]


class TokenSecret(TypedDict):
    """A new token; its `secret` is shown this once."""

    id: str
    name: str
    scopes: list[Literal["read", "write"]]
    created: float
    expires: float
    secret: str


class Undone(TypedDict):
    """What was taken back; `label` empty: there was nothing."""

    label: str
    count: int


class UploadInfo(TypedDict):
    """An unfinished file: the next piece begins at `offset`."""

    id: str
    name: str
    size: int
    sha256: str
    offset: int
    created: float
    largest_piece: int


class UploadList(TypedDict):
    """All unfinished files of a person."""

    items: list[UploadInfo]


class Webhook(TypedDict):
    """Where events are sent; `events` empty: all; `likeness` empty: of every person."""

    id: str
    url: str
    events: list[str]
    likeness: str
    created: float
    disabled: str


class WebhookList(TypedDict):
    """The webhooks of the user who asks."""

    items: list[Webhook]


class WebhookSecret(TypedDict):
    """A new webhook; the `secret` of its signatures is shown this once."""

    id: str
    url: str
    events: list[str]
    likeness: str
    created: float
    disabled: str
    secret: str
