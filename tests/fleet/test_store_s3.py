"""A store as S3 is one: exclusive writes, and forgetting where old versions are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.fleet.objects import Objects
from portrait_lora.fleet.patience import Patience, StoreError
from portrait_lora.fleet.store import Workplace
from portrait_lora.tasks.shard import files, plan

QUICK = Patience((0.0,))


def head_with(url: str, home: Path, text: str) -> Workplace:
    photos = files.folder(home, "ann") / "photos"
    photos.mkdir(parents=True)
    (photos / "1.jpg").write_text(text)
    place = Workplace(url, home, is_head=True, patience=QUICK)
    place.deliver("ann")
    return place


def test_an_object_is_created_once(bucket: str) -> None:
    objects = Objects(bucket, QUICK)
    assert objects.create("claims/x", b"first") and not objects.create("claims/x", b"second")
    assert objects.read("claims/x") == b"first"
    with pytest.raises(FileNotFoundError):
        objects.read("claims/y")


def test_there_and_back(bucket: str, tmp_path: Path) -> None:
    head_with(bucket, tmp_path / "head", "one")
    worker = Workplace(bucket, tmp_path / "worker", patience=QUICK)
    assert worker.fetch("ann") and not worker.fetch("ann")
    assert (files.folder(worker.home, "ann") / "photos/1.jpg").read_text() == "one"
    assert worker.people() == ["ann"]


def test_forgetting_where_old_versions_are_kept(bucket: str, tmp_path: Path) -> None:
    import s3fs

    fs = s3fs.S3FileSystem()
    name = bucket.removeprefix("s3://").split("/")[0]
    fs.make_bucket_versioned(name)
    place = head_with(bucket, tmp_path / "head", "one")
    photo = files.folder(place.home, "ann") / "photos/1.jpg"
    photo.write_text("another")
    place.deliver("ann")
    place.objects.write("people/anna/files/x", b"somebody else")
    whole = plan.FleetPlan(roster="r.csv", roster_sha256="", people={"ann": (), "anna": ()})
    plan.write(place.home, whole)
    place.deliver_plan()
    plan.write(place.home, whole.model_copy(update={"threads": 2}))
    place.deliver_plan()
    assert place.objects.left("people/ann") > sum(place.objects.sizes("people/ann").values())
    place.objects.remove(list(place.objects.sizes("people/ann")))
    assert place.objects.sizes("people/ann") == {}  # though S3 still says that there is a folder
    place.forget("ann")
    kept = fs.call_s3("list_object_versions", Bucket=name)
    keys = {one["Key"] for one in [*kept.get("Versions", []), *kept.get("DeleteMarkers", [])]}
    assert keys == {"home/people/anna/files/x", "home/fleet.json"}
    plans = [one for one in kept["Versions"] if one["Key"] == "home/fleet.json"]
    assert len(plans) == 1 and list(
        plan.FleetPlan.read(json.loads(place.objects.read("fleet.json"))).people
    ) == ["anna"]


def test_a_bucket_that_is_not_there(bucket: str, tmp_path: Path) -> None:
    place = Workplace("s3://no-such-bucket/home", tmp_path, patience=QUICK)
    with pytest.raises(InputError, match="nothing of this person"):
        place.fetch("ann")


def test_nobody_at_this_address(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(StoreError, match="does not answer") as error:
        Workplace("s3://bucket/home", tmp_path, patience=QUICK).people()
    assert error.value.remedy
    s3fs.S3FileSystem.clear_instance_cache()
