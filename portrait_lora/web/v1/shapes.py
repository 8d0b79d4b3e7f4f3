"""The shapes of requests and answers: strict, no unknown key; times are seconds since the epoch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from portrait_lora.web import paging
from portrait_lora.web.services.downloads import DownloadFormat as DownloadFormat
from portrait_lora.web.services.portraits import PictureKind

PERSON_ID = r"^[a-z0-9-]{1,64}$"
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")
]
Words = Annotated[str, StringConstraints(max_length=2000)]
State = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
Limit = Annotated[int, Field(ge=1, le=paging.MAX_LIMIT, description="how many at most")]


class Shape(BaseModel):
    """What every one has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Problem(BaseModel):
    """An error by RFC 9457, with what, where, got, needed and remedy."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    what: str = ""
    where: str = ""
    got: str = ""
    needed: str = ""
    remedy: str = ""


class Me(Shape):
    """Who is asking."""

    name: str
    role: str
    scopes: list[str]


class Likeness(Shape):
    """One person: what is there of them."""

    id: str
    name: str
    owner: str
    kind: str = Field(description="photographs or made_up")
    created: float
    photos: int
    consent: bool = Field(description="whether a consent is recorded")
    trained: bool = Field(description="whether an adapter is there")
    scored: bool = Field(description="whether a drift report is there")
    series: list[str] = Field(description="series that have pictures")


class LikenessPage(Shape):
    """Some people, and the cursor of the next page."""

    items: list[Likeness]
    next: str | None


class NewLikeness(Shape):
    """A person to be added; photos come later."""

    name: Name
    kind: Literal["person", "man", "woman"] = Field(
        default="person", description="class word of the captions"
    )
    base: Words = Field(default="", description="base model; empty: the one that suits this machine")
    settings: Annotated[list[Words], Field(max_length=100)] = Field(default=[], description="KEY=VALUE each")


class Forgotten(Shape):
    """The receipt of `forget`."""

    id: str
    receipt: JsonValue


class Finding(Shape):
    """One remark on a photo; `figures` is what was measured and what is needed."""

    code: str
    title: str
    severity: str
    figures: str
    advice: str


class Photo(Shape):
    """One photo, what the last check found on it (None before one), and what was decided by hand."""

    id: str
    name: str
    sha256: str
    bytes: int
    verdict: str = Field(description="in words, such as `Held out`")
    accepted: bool | None
    findings: list[Finding]
    size_px: list[int] | None = Field(description="[W, H] as it is read")
    box_px: list[float] | None = Field(description="the face: x, y, width, height")
    view: str
    expression: str
    turn_deg: int
    crop: list[float] = Field(description="x0, y0, x1, y1 in fractions of the turned picture")
    accepted_anyway: bool
    shows: Literal["same", "other", ""] = Field(description="what was answered on who it shows")
    pending: bool = Field(description="whether a decision waits for the next check")
    picture: str = Field(description="address of a re-encoded copy; ?w= sets its width")


class PhotoPage(Shape):
    """Some photos, and the cursor of the next page."""

    items: list[Photo]
    next: str | None


class Received(Shape):
    """What became of one file: `added`, `already` there under this id, or `refused` with its problem."""

    name: str
    state: Literal["added", "already", "refused"]
    id: str | None
    problem: Problem | None


class ReceivedAll(Shape):
    """What became of all files, in their order."""

    items: list[Received]


class NewUpload(Shape):
    """A file that will come in pieces."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    size: Annotated[int, Field(ge=1, description="bytes")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class UploadInfo(Shape):
    """An unfinished file: the next piece begins at `offset`."""

    id: str
    name: str
    size: int
    sha256: str
    offset: int
    created: float
    largest_piece: int


class UploadList(Shape):
    """All unfinished files of a person."""

    items: list[UploadInfo]


class Turn(Shape):
    """Turn a photo clockwise."""

    degrees: Literal[90, 180, 270]


class Crop(Shape):
    """A crop by hand: x0, y0, x1, y1 in fractions of the turned picture; None: all of it."""

    box: Annotated[list[Annotated[float, Field(ge=0.0, le=1.0)]], Field(min_length=4, max_length=4)] | None


class Accept(Shape):
    """Use a photo although the check rejects it, or leave it to the check again."""

    accept: bool


class Shows(Shape):
    """Whom a photo shows: the person, somebody else, or empty: left to the check."""

    who: Literal["same", "other", ""]


class RecordedConsent(Shape):
    """The consent that is recorded, and whether it covers everything today; `problem` says what not."""

    needed: bool
    recorded: bool
    who: str
    purposes: list[str]
    until: str
    recorded_on: str
    by: str
    guardian: str = Field(description="who consents for a minor; empty for an adult")
    born: str = Field(description="the stated date of birth; empty where nobody asked")
    photos: int = Field(description="photos that it covers")
    missing: int = Field(description="photos that it does not cover")
    covers: bool
    problem: str
    statement: str = Field(description="the words that the subject agrees to")


class NewConsent(Shape):
    """`i_am_the_subject` for portraits of oneself; else who agreed to which words; a year unless `until`."""

    i_am_the_subject: bool = False
    who: Annotated[str, StringConstraints(max_length=200)] = ""
    purposes: Annotated[
        list[Literal["training", "portraits", "commercial"]], Field(min_length=1, max_length=3)
    ] = ["training", "portraits", "commercial"]
    until: Annotated[str, StringConstraints(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")] = ""
    statement: Annotated[str, StringConstraints(max_length=10_000)] = ""
    guardian: Annotated[str, StringConstraints(max_length=200)] = Field(
        default="", description="who consents for a minor"
    )
    born: Annotated[str, StringConstraints(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")] = Field(
        default="", description="date of birth, asked of whoever looks young"
    )


class Caption(Shape):
    """The caption of one training crop; `version` goes into If-Match when it is changed."""

    id: str
    file: str
    photo: str
    text: str
    version: str
    lacks_trigger: bool = Field(description="whether the trained word is missing in it")
    picture: str | None


class CaptionPage(Shape):
    """Some captions, and the cursor of the next page."""

    items: list[Caption]
    next: str | None


class NewCaption(Shape):
    """Another text."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class Replace(Shape):
    """Find and replace in all captions; `try_out` only counts."""

    find: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    by: Annotated[str, StringConstraints(max_length=200)]
    whole_words: bool = True
    match_case: bool = False
    try_out: bool = False


class Replaced(Shape):
    """How many captions were changed, or would be."""

    count: int


class Undone(Shape):
    """What was taken back; `label` empty: there was nothing."""

    label: str
    count: int


class JobError(BaseModel):
    """Why a job failed."""

    model_config = ConfigDict(extra="allow")

    what: str = ""
    where: str = ""
    got: str = ""
    needed: str = ""
    remedy: str = ""
    message: str = ""
    exit_code: int = 1


class Job(Shape):
    """A job; `result` is that of its kind, with paths relative to the likeness folder."""

    id: str
    kind: str
    likeness: str = Field(description="the person's id; empty when this is no person of the studio")
    owner: str
    arguments: dict[str, JsonValue]
    state: State
    priority: int
    device: str
    created: float
    started: float | None
    ended: float | None
    attempts: int
    exit_code: int | None
    cancel_requested: bool
    progress: dict[str, JsonValue] | None
    result: JsonValue
    error: JobError | None
    events: str = Field(description="address of its events as SSE")


class JobPage(Shape):
    """Some jobs, newest first, and the cursor of the next page."""

    items: list[Job]
    next: str | None


class JobEvent(Shape):
    """One event of a job; `kind` is state, progress, log, metric or result."""

    number: int
    time: float
    kind: str
    data: dict[str, JsonValue]


class JobEvents(Shape):
    """Events behind a number, oldest first; `last` goes into `after` of the next call."""

    items: list[JobEvent]
    last: int


class Move(Shape):
    """To stand before another waiting job; None: at the end."""

    before: Annotated[str, StringConstraints(max_length=40)] | None


class Picture(Shape):
    """A picture that was drawn."""

    id: str
    name: str
    series: str
    kind: PictureKind
    look: str
    size_px: list[int] | None
    prompt: str
    seed: int | None
    similarity: float | None = Field(description="to the held-out photos, if it was scored")
    digital_source_type: str
    picture: str = Field(description="address of a re-encoded thumbnail; ?w= sets its width")
    file: str = Field(description="address of the file itself")


class PictureDetails(Picture):
    """The same with every step of how it was made."""

    history: list[dict[str, JsonValue]]


class PicturePage(Shape):
    """Some pictures, and the cursor of the next page."""

    items: list[Picture]
    next: str | None


class Series(Shape):
    """A series that was drawn, with its numbers of pictures."""

    name: str
    portraits: int
    edits: int
    finished: int


class SeriesList(Shape):
    """All series of a person."""

    items: list[Series]


class PackagedSeries(Shape):
    """A shipped series and its shots."""

    name: str
    shots: list[str]


class PackagedSeriesList(Shape):
    """All shipped series."""

    items: list[PackagedSeries]


class Look(Shape):
    """A shipped look of finishing and its steps."""

    name: str
    about: str
    steps: list[str]


class LookList(Shape):
    """All shipped looks."""

    items: list[Look]


class Report(Shape):
    """A report as it lies in the likeness folder."""

    report: dict[str, JsonValue]


class Models(Shape):
    """Base models and face packs, as of `portrait-lora models --json`."""

    models: list[dict[str, JsonValue]]
    face_packs: list[dict[str, JsonValue]]


class Check(Shape):
    """One check of the machine."""

    name: str
    status: Literal["ok", "warn", "fail"]
    observed: str
    remedy: str


class Doctor(Shape):
    """Whether this machine is ready."""

    ready: bool
    checks: list[Check]


class LintRequest(Shape):
    """A prompt to be looked through."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    base: Annotated[str, StringConstraints(max_length=200)] = ""
    aspect: Annotated[str, StringConstraints(pattern=r"^(\d{1,4}:\d{1,4})?$")] = ""


class Remark(Shape):
    """What weakens a prompt, and what to write instead."""

    code: str
    problem: str
    instead: str


class Lint(Shape):
    """All remarks on a prompt."""

    remarks: list[Remark]


class Token(Shape):
    """A token without its secret."""

    id: str
    name: str
    scopes: list[Literal["read", "write"]]
    created: float
    expires: float


class TokenList(Shape):
    """The tokens of the user who asks."""

    items: list[Token]


class NewToken(Shape):
    """A token to be made."""

    name: Name
    scopes: Annotated[list[Literal["read", "write"]], Field(min_length=1, max_length=2)] = ["read", "write"]
    days: Annotated[int, Field(ge=1, le=366)] = 90


class TokenSecret(Token):
    """A new token; its `secret` is shown this once."""

    secret: str


Event = Literal[
    "job.queued",
    "job.running",
    "job.progress",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "job.interrupted",
]


class Webhook(Shape):
    """Where events are sent; `events` empty: all; `likeness` empty: of every person."""

    id: str
    url: str
    events: list[str]
    likeness: str
    created: float
    disabled: str


class WebhookList(Shape):
    """The webhooks of the user who asks."""

    items: list[Webhook]


class NewWebhook(Shape):
    """A webhook to be made: https to a public address."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    events: Annotated[list[Event], Field(max_length=7)] = []
    likeness: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{0,64}$")] = ""


class WebhookSecret(Webhook):
    """A new webhook; the `secret` of its signatures is shown this once."""

    secret: str


class Delivery(Shape):
    """A message: `waiting`, `delivered` or `failed`; `status` is the receiver's last answer."""

    id: str
    kind: str
    job: str
    created: float
    attempts: int
    state: Literal["waiting", "delivered", "failed"]
    status: int | None
    error: str


class DeliveryList(Shape):
    """The newest messages of a webhook."""

    items: list[Delivery]


class Sent(Shape):
    """A message that was put down for sending."""

    id: str


class SignedMark(Shape):
    """Signed credentials (C2PA) of a picture; `origin` says what is known of the signer."""

    state: Literal["trusted", "valid", "invalid"]
    origin: Literal["this machine", "trusted authority", "unverified", "broken"]
    signer: str
    generator: str
    altered: bool = Field(description="whether the picture or its statement is not what was signed")
    digital_source_type: str | None
    signed_at: str | None
    actions: list[str] = Field(description="oldest first")
    before: list[str]
    problems: list[str]


class PixelMark(Shape):
    """The watermark; `whole` is False where a part of the picture lacks it."""

    tool: str
    picture: str = Field(description="the number of the picture, in hex")
    confidence: float
    corrected_bits: int
    whole: bool


class DetectedMarks(Shape):
    """What one file carries; `problem` says why it was not read."""

    file: str
    verdict: Literal["both layers", "metadata alone", "watermark alone", "no marks", "not read"]
    generated: bool
    metadata_type: str | None = Field(description="the source type in its XMP")
    credentials: SignedMark | None
    watermark: PixelMark | None
    problem: str


class Detection(Shape):
    """All files, in their order, and how often an unmarked one is called watermarked, by design."""

    files: list[DetectedMarks]
    false_positive_rate: float
    watermark: str = Field(description="name of the watermark that was looked for")
