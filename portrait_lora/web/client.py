"""A client of the API, one method per operation; written by `scripts/web_client.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from portrait_lora.web import client_shapes as shapes
from portrait_lora.web.transport import UNSET, ApiError, Transport, Unset

__all__ = ["UNSET", "ApiError", "Client", "Unset"]


class Client(Transport):
    """A studio.  Arguments that are left out are not sent; `ApiError` tells what was refused."""

    def get_me(self) -> shapes.Me:
        """Who is asking, and what this sign-in or token may do."""
        return self._json("GET", "/v1/me")

    def list_likenesses(
        self, *, cursor: str | Unset = UNSET, limit: int | Unset = UNSET
    ) -> shapes.LikenessPage:
        """The people that this user may look at, by name."""
        return self._json("GET", "/v1/likenesses", query={"cursor": cursor, "limit": limit})

    def create_likeness(
        self,
        name: str,
        *,
        kind: Literal["person", "man", "woman"] | Unset = UNSET,
        base: str | Unset = UNSET,
        settings: list[str] | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Likeness:
        """Add a person. Photos come next, then consent, then `check`."""
        return self._json(
            "POST",
            "/v1/likenesses",
            body={"name": name, "kind": kind, "base": base, "settings": settings},
            key=idempotency_key,
        )

    def open_demo(self, *, person_seed: int | Unset = UNSET) -> shapes.Likeness:
        """The made-up person of this seed, with photos."""
        return self._json("POST", "/v1/demo", body={"person_seed": person_seed})

    def get_likeness(self, likeness: str) -> shapes.Likeness:
        """One person."""
        return self._json("GET", f"/v1/likenesses/{quote(likeness, safe='')}")

    def forget_likeness(
        self, likeness: str, confirm: str, *, copies: bool | Unset = UNSET
    ) -> shapes.Forgotten:
        """Forget a person: photos, model, portraits and jobs are removed, and the receipt proves it."""
        return self._json(
            "DELETE",
            f"/v1/likenesses/{quote(likeness, safe='')}",
            query={"confirm": confirm, "copies": copies},
        )

    def list_photos(
        self, likeness: str, *, cursor: str | Unset = UNSET, limit: int | Unset = UNSET
    ) -> shapes.PhotoPage:
        """The photos by name, with what the last check found on each and what was decided by hand."""
        return self._json(
            "GET",
            f"/v1/likenesses/{quote(likeness, safe='')}/photos",
            query={"cursor": cursor, "limit": limit},
        )

    def add_photos(self, likeness: str, files: Sequence[Path]) -> shapes.ReceivedAll:
        """Photos as a multipart form. What became of each stands in the answer."""
        return self._form("POST", f"/v1/likenesses/{quote(likeness, safe='')}/photos", files)

    def get_photo(self, likeness: str, photo: str) -> shapes.Photo:
        """One photo."""
        return self._json("GET", f"/v1/likenesses/{quote(likeness, safe='')}/photos/{quote(photo, safe='')}")

    def remove_photo(self, likeness: str, photo: str) -> None:
        """Take a photo out: it is moved to `removed/` in the likeness folder, and kept there."""
        self._json("DELETE", f"/v1/likenesses/{quote(likeness, safe='')}/photos/{quote(photo, safe='')}")

    def rotate_photo(self, likeness: str, photo: str, degrees: Literal[90, 180, 270]) -> shapes.Photo:
        """Turn a photo clockwise by so many more degrees; the file stays as it is."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/photos/{quote(photo, safe='')}/rotate",
            body={"degrees": degrees},
        )

    def crop_photo(self, likeness: str, photo: str, box: list[float] | None) -> shapes.Photo:
        """Keep this part of a photo; the file stays as it is."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/photos/{quote(photo, safe='')}/crop",
            body={"box": box},
        )

    def accept_photo(self, likeness: str, photo: str, accept: bool) -> shapes.Photo:
        """Use a photo in spite of what the check finds on it, or leave it to the check again."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/photos/{quote(photo, safe='')}/accept",
            body={"accept": accept},
        )

    def say_who_photo_shows(
        self, likeness: str, photo: str, who: Literal["same", "other", ""]
    ) -> shapes.Photo:
        """Answer whom a photo shows, where the check is in doubt."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/photos/{quote(photo, safe='')}/shows",
            body={"who": who},
        )

    def get_consent(self, likeness: str) -> shapes.RecordedConsent:
        """The consent that is recorded, and whether it covers all photos today."""
        return self._json("GET", f"/v1/likenesses/{quote(likeness, safe='')}/consent")

    def record_consent(
        self,
        likeness: str,
        *,
        i_am_the_subject: bool | Unset = UNSET,
        who: str | Unset = UNSET,
        purposes: list[Literal["training", "portraits", "commercial"]] | Unset = UNSET,
        until: str | Unset = UNSET,
        statement: str | Unset = UNSET,
        guardian: str | Unset = UNSET,
        born: str | Unset = UNSET,
    ) -> shapes.RecordedConsent:
        """Record a consent for the photos that are there now; those that come later need it anew."""
        return self._json(
            "PUT",
            f"/v1/likenesses/{quote(likeness, safe='')}/consent",
            body={
                "i_am_the_subject": i_am_the_subject,
                "who": who,
                "purposes": purposes,
                "until": until,
                "statement": statement,
                "guardian": guardian,
                "born": born,
            },
        )

    def list_uploads(self, likeness: str) -> shapes.UploadList:
        """Files of a person that were begun and not completed."""
        return self._json("GET", f"/v1/likenesses/{quote(likeness, safe='')}/uploads")

    def begin_upload(
        self, likeness: str, name: str, size: int, sha256: str, *, idempotency_key: str = ""
    ) -> shapes.UploadInfo:
        """Announce a file; nothing of it is sent yet. One that is too large is refused here."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/uploads",
            body={"name": name, "size": size, "sha256": sha256},
            key=idempotency_key,
        )

    def get_upload(self, likeness: str, upload: str) -> shapes.UploadInfo:
        """Where to go on: the next piece begins at `offset`."""
        return self._json(
            "GET", f"/v1/likenesses/{quote(likeness, safe='')}/uploads/{quote(upload, safe='')}"
        )

    def add_to_upload(self, likeness: str, upload: str, upload_offset: int, data: bytes) -> shapes.UploadInfo:
        """One piece of at most 16 MiB."""
        return self._json(
            "PATCH",
            f"/v1/likenesses/{quote(likeness, safe='')}/uploads/{quote(upload, safe='')}",
            data=data,
            headers={"Upload-Offset": str(upload_offset), "Content-Type": "application/offset+octet-stream"},
        )

    def delete_upload(self, likeness: str, upload: str) -> None:
        """Give it up."""
        self._json("DELETE", f"/v1/likenesses/{quote(likeness, safe='')}/uploads/{quote(upload, safe='')}")

    def complete_upload(self, likeness: str, upload: str) -> shapes.Received:
        """All of it is here: it becomes a photo, if its sha256 is right and it is a picture."""
        return self._json(
            "POST", f"/v1/likenesses/{quote(likeness, safe='')}/uploads/{quote(upload, safe='')}/complete"
        )

    def list_captions(
        self, likeness: str, *, cursor: str | Unset = UNSET, limit: int | Unset = UNSET
    ) -> shapes.CaptionPage:
        """The captions by crop; none before the dataset is prepared."""
        return self._json(
            "GET",
            f"/v1/likenesses/{quote(likeness, safe='')}/captions",
            query={"cursor": cursor, "limit": limit},
        )

    def change_caption(self, likeness: str, caption: str, text: str) -> shapes.Caption:
        """Set one caption."""
        return self._json(
            "PUT",
            f"/v1/likenesses/{quote(likeness, safe='')}/captions/{quote(caption, safe='')}",
            body={"text": text},
        )

    def replace_in_captions(
        self,
        likeness: str,
        find: str,
        by: str,
        *,
        whole_words: bool | Unset = UNSET,
        match_case: bool | Unset = UNSET,
        try_out: bool | Unset = UNSET,
    ) -> shapes.Replaced:
        """Find and replace in all captions, all or nothing; it can be undone."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/captions/replace",
            body={
                "find": find,
                "by": by,
                "whole_words": whole_words,
                "match_case": match_case,
                "try_out": try_out,
            },
        )

    def undo_captions(self, likeness: str) -> shapes.Undone:
        """Take back the last change; captions that were changed since stay as they are."""
        return self._json("POST", f"/v1/likenesses/{quote(likeness, safe='')}/captions/undo")

    def check(
        self,
        likeness: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Look at every photo: face, person, sharpness, light; what is missing among them."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/check",
            body={"settings": settings, "allow_synthetic_models": allow_synthetic_models},
            key=idempotency_key,
        )

    def prepare(
        self,
        likeness: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        force: bool | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Hold some photos out for scoring; crop and caption the others."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/prepare",
            body={"settings": settings, "allow_synthetic_models": allow_synthetic_models, "force": force},
            key=idempotency_key,
        )

    def train(
        self,
        likeness: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        force: bool | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Train the LoRA and choose its checkpoint. Photographs need a recorded consent."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/train",
            body={"settings": settings, "allow_synthetic_models": allow_synthetic_models, "force": force},
            key=idempotency_key,
        )

    def generate(
        self,
        likeness: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        force: bool | Unset = UNSET,
        series: str | Unset = UNSET,
        prompts: list[str] | Unset = UNSET,
        aspect: str | Unset = UNSET,
        brand: str | Unset = UNSET,
        best_of: int | Unset | None = UNSET,
        max_pictures: int | Unset | None = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Draw a series, or prompts in one's own words."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/generate",
            body={
                "settings": settings,
                "allow_synthetic_models": allow_synthetic_models,
                "force": force,
                "series": series,
                "prompts": prompts,
                "aspect": aspect,
                "brand": brand,
                "best_of": best_of,
                "max_pictures": max_pictures,
            },
            key=idempotency_key,
        )

    def score(
        self,
        likeness: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        force: bool | Unset = UNSET,
        clip: str | Unset = UNSET,
        over: str | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Measure the likeness of the portraits that were drawn last."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/score",
            body={
                "settings": settings,
                "allow_synthetic_models": allow_synthetic_models,
                "force": force,
                "clip": clip,
                "over": over,
            },
            key=idempotency_key,
        )

    def run(
        self,
        likeness: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        force: bool | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Everything from check to score. Photographs need a recorded consent."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/run",
            body={"settings": settings, "allow_synthetic_models": allow_synthetic_models, "force": force},
            key=idempotency_key,
        )

    def list_series(self, likeness: str) -> shapes.SeriesList:
        """The series that were drawn, with their numbers of pictures."""
        return self._json("GET", f"/v1/likenesses/{quote(likeness, safe='')}/series")

    def list_portraits(
        self,
        likeness: str,
        *,
        series: str | Unset = UNSET,
        kind: Literal["", "portrait", "edit", "finished"] | Unset = UNSET,
        cursor: str | Unset = UNSET,
        limit: int | Unset = UNSET,
    ) -> shapes.PicturePage:
        """Portraits, edits and finished pictures, by folder and name."""
        return self._json(
            "GET",
            f"/v1/likenesses/{quote(likeness, safe='')}/portraits",
            query={"series": series, "kind": kind, "cursor": cursor, "limit": limit},
        )

    def get_portrait(self, likeness: str, picture: str) -> shapes.PictureDetails:
        """One picture, and every step of how it was made."""
        return self._json(
            "GET", f"/v1/likenesses/{quote(likeness, safe='')}/portraits/{quote(picture, safe='')}"
        )

    def get_portrait_file(
        self,
        likeness: str,
        picture: str,
        *,
        format: Literal["original", "jpeg", "webp", "png"] | Unset = UNSET,
    ) -> bytes:
        """The file: as it is with its record, or a copy for publication, which keeps only the mark."""
        return self._bytes(
            "GET",
            f"/v1/likenesses/{quote(likeness, safe='')}/portraits/{quote(picture, safe='')}/file",
            query={"format": format},
        )

    def download_pictures(
        self,
        likeness: str,
        *,
        series: str | Unset = UNSET,
        kind: Literal["", "portrait", "edit", "finished"] | Unset = UNSET,
        picture: list[str] | Unset = UNSET,
        format: Literal["original", "jpeg", "webp", "png"] | Unset = UNSET,
    ) -> bytes:
        """Pictures as one zip, as they are or as copies for publication in a chosen format."""
        return self._bytes(
            "GET",
            f"/v1/likenesses/{quote(likeness, safe='')}/download",
            query={"series": series, "kind": kind, "picture": picture, "format": format},
        )

    def get_report(self, likeness: str) -> shapes.Report:
        """The drift report: likeness as a whole, prompt by prompt and portrait by portrait."""
        return self._json("GET", f"/v1/likenesses/{quote(likeness, safe='')}/report")

    def get_summary(self, likeness: str) -> shapes.Report:
        """The figures of the whole journey, as in `reports/run.json`."""
        return self._json("GET", f"/v1/likenesses/{quote(likeness, safe='')}/summary")

    def get_verdicts(self, likeness: str) -> shapes.Report:
        """What the last check says: every photo's findings, coverage of views, and advice."""
        return self._json("GET", f"/v1/likenesses/{quote(likeness, safe='')}/verdicts")

    def finish(
        self,
        likeness: str,
        look: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        picture: str | Unset | None = UNSET,
        series: str | Unset = UNSET,
        limit: float | Unset = UNSET,
        seed: int | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Finish a picture or a whole series by a look; likeness is measured before and after every step."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/finish",
            body={
                "settings": settings,
                "allow_synthetic_models": allow_synthetic_models,
                "picture": picture,
                "series": series,
                "look": look,
                "limit": limit,
                "seed": seed,
            },
            key=idempotency_key,
        )

    def vary(
        self,
        likeness: str,
        picture: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        strength: float | Unset = UNSET,
        count: int | Unset = UNSET,
        changes: dict[str, str] | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Variations of a picture: the same composition, changed by `strength`."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/portraits/{quote(picture, safe='')}/vary",
            body={
                "settings": settings,
                "allow_synthetic_models": allow_synthetic_models,
                "strength": strength,
                "count": count,
                "changes": changes,
            },
            key=idempotency_key,
        )

    def fix(
        self,
        likeness: str,
        picture: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        region: Literal["eyes", "face", "skin", "hair", "background"] | Unset | None = UNSET,
        mask_png: str | Unset = UNSET,
        strength: float | Unset = UNSET,
        tries: int | Unset = UNSET,
        changes: dict[str, str] | Unset = UNSET,
        keep: bool | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """Draw one region, or what a mask shows, again."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/portraits/{quote(picture, safe='')}/fix",
            body={
                "settings": settings,
                "allow_synthetic_models": allow_synthetic_models,
                "region": region,
                "mask_png": mask_png,
                "strength": strength,
                "tries": tries,
                "changes": changes,
                "keep": keep,
            },
            key=idempotency_key,
        )

    def compare(
        self,
        likeness: str,
        other: str,
        *,
        settings: list[str] | Unset = UNSET,
        allow_synthetic_models: bool | Unset = UNSET,
        idempotency_key: str = "",
    ) -> shapes.Job:
        """The likeness of two adapters: difference and interval. Both must have been scored."""
        return self._json(
            "POST",
            f"/v1/likenesses/{quote(likeness, safe='')}/compare",
            body={"settings": settings, "allow_synthetic_models": allow_synthetic_models, "other": other},
            key=idempotency_key,
        )

    def list_jobs(
        self,
        *,
        state: list[Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]]
        | Unset = UNSET,
        likeness: str | Unset = UNSET,
        cursor: str | Unset = UNSET,
        limit: int | Unset = UNSET,
    ) -> shapes.JobPage:
        """Jobs, the newest first."""
        return self._json(
            "GET", "/v1/jobs", query={"state": state, "likeness": likeness, "cursor": cursor, "limit": limit}
        )

    def get_job(self, job: str, *, wait: float | Unset = UNSET) -> shapes.Job:
        """One job; with `wait` as soon as it is over, or as it stands then."""
        return self._json("GET", f"/v1/jobs/{quote(job, safe='')}", query={"wait": wait})

    def get_job_history(
        self, job: str, *, after: int | Unset = UNSET, limit: int | Unset = UNSET
    ) -> shapes.JobEvents:
        """Events of a job behind a number, oldest first: state, progress, log, metric and result."""
        return self._json(
            "GET", f"/v1/jobs/{quote(job, safe='')}/history", query={"after": after, "limit": limit}
        )

    def cancel_job(self, job: str) -> shapes.Job:
        """A waiting job ends at once, a running one within a step, state saved; one that is over stays."""
        return self._json("POST", f"/v1/jobs/{quote(job, safe='')}/cancel")

    def resume_job(self, job: str) -> shapes.Job:
        """Put a job that was cancelled, failed or interrupted back into the line."""
        return self._json("POST", f"/v1/jobs/{quote(job, safe='')}/resume")

    def move_job(self, job: str, before: str | None) -> shapes.Job:
        """Put a waiting job before another waiting one, or at the end of the line."""
        return self._json("POST", f"/v1/jobs/{quote(job, safe='')}/move", body={"before": before})

    def list_fleets(self) -> shapes.FleetList:
        """Fleets of whose people this user may look at somebody, by name; only those people are counted."""
        return self._json("GET", "/v1/fleets")

    def get_fleet(self, fleet: str) -> shapes.Fleet:
        """One fleet: how many are where, what it has cost, and what it still will."""
        return self._json("GET", f"/v1/fleets/{quote(fleet, safe='')}")

    def list_fleet_people(
        self,
        fleet: str,
        *,
        state: list[
            Literal[
                "waiting", "running", "succeeded", "needs_photos", "needs_consent", "set_aside", "forgotten"
            ]
        ]
        | Unset = UNSET,
        cursor: str | Unset = UNSET,
        limit: int | Unset = UNSET,
    ) -> shapes.FleetPeople:
        """Everybody of a fleet with their figures; `outlier` says why somebody should look at one."""
        return self._json(
            "GET",
            f"/v1/fleets/{quote(fleet, safe='')}/people",
            query={"state": state, "cursor": cursor, "limit": limit},
        )

    def get_fleet_history(
        self, fleet: str, *, after: int | Unset = UNSET, limit: int | Unset = UNSET
    ) -> shapes.FleetEvents:
        """What has changed in a fleet behind a number, oldest first."""
        return self._json(
            "GET", f"/v1/fleets/{quote(fleet, safe='')}/history", query={"after": after, "limit": limit}
        )

    def list_packaged_series(self) -> shapes.PackagedSeriesList:
        """The series that come with the program."""
        return self._json("GET", "/v1/series")

    def list_looks(self) -> shapes.LookList:
        """The looks of finishing that come with the program."""
        return self._json("GET", "/v1/looks")

    def list_models(self) -> shapes.Models:
        """Base models and face packs with licence, size and memory; which may be used commercially."""
        return self._json("GET", "/v1/models")

    def get_doctor(self) -> shapes.Doctor:
        """Whether this machine is ready. Nothing is asked of the network."""
        return self._json("GET", "/v1/doctor")

    def lint_prompt(
        self, text: str, *, base: str | Unset = UNSET, aspect: str | Unset = UNSET
    ) -> shapes.Lint:
        """What weakens a prompt, and what to write instead."""
        return self._json("POST", "/v1/prompts/lint", body={"text": text, "base": base, "aspect": aspect})

    def detect_marks(self, files: Sequence[Path]) -> shapes.Detection:
        """Which marks pictures carry: source type, signed credentials, watermark. Nothing sent is kept."""
        return self._form("POST", "/v1/detect", files)

    def list_webhooks(self) -> shapes.WebhookList:
        """The webhooks of the user who asks."""
        return self._json("GET", "/v1/webhooks")

    def create_webhook(
        self,
        url: str,
        *,
        events: list[
            Literal[
                "job.queued",
                "job.running",
                "job.progress",
                "job.succeeded",
                "job.failed",
                "job.cancelled",
                "job.interrupted",
            ]
        ]
        | Unset = UNSET,
        likeness: str | Unset = UNSET,
    ) -> shapes.WebhookSecret:
        """A webhook by https to a public address; its secret is shown this once."""
        return self._json("POST", "/v1/webhooks", body={"url": url, "events": events, "likeness": likeness})

    def get_webhook(self, hook: str) -> shapes.Webhook:
        """One webhook, without its secret."""
        return self._json("GET", f"/v1/webhooks/{quote(hook, safe='')}")

    def delete_webhook(self, hook: str) -> None:
        """Nothing is sent to it any more."""
        self._json("DELETE", f"/v1/webhooks/{quote(hook, safe='')}")

    def ping_webhook(self, hook: str) -> shapes.Sent:
        """Send a message of type `ping`."""
        return self._json("POST", f"/v1/webhooks/{quote(hook, safe='')}/ping")

    def list_deliveries(self, hook: str, *, limit: int | Unset = UNSET) -> shapes.DeliveryList:
        """Its newest messages, and what became of each."""
        return self._json("GET", f"/v1/webhooks/{quote(hook, safe='')}/deliveries", query={"limit": limit})

    def list_tokens(self) -> shapes.TokenList:
        """The tokens that hold, without their secrets."""
        return self._json("GET", "/v1/tokens")

    def create_token(
        self, name: str, *, scopes: list[Literal["read", "write"]] | Unset = UNSET, days: int | Unset = UNSET
    ) -> shapes.TokenSecret:
        """A token for a program; its secret is shown this once. `read` alone may look, but not change."""
        return self._json("POST", "/v1/tokens", body={"name": name, "scopes": scopes, "days": days})

    def revoke_token(self, token: str) -> None:
        """The token does not hold any more, at once."""
        self._json("DELETE", f"/v1/tokens/{quote(token, safe='')}")
