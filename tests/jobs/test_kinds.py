"""Every kind does what its command does, on the shared journey."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from portrait_lora.errors import InputError
from portrait_lora.jobs import arguments
from portrait_lora.jobs.child import Stop, work
from portrait_lora.jobs.job import Job, JobState
from portrait_lora.jobs.kinds import KINDS
from tests.conftest import PERSON_SEED, REDUCED, Journey


def do(kind: str, folder: Path, **values: Any) -> Any:
    """The result of a kind, after the same checks as in the queue and in the process of a job."""
    outcome = work(Job("j", kind, str(folder), values, JobState.RUNNING), Stop())
    assert outcome.state == "succeeded", outcome.error
    return outcome.result


def error_of(kind: str, folder: Path, **values: Any) -> dict[str, Any]:
    outcome = work(Job("j", kind, str(folder), values, JobState.RUNNING), Stop())
    assert outcome.state == "failed" and outcome.error is not None
    return dict(outcome.error)


@pytest.fixture(scope="module")
def me(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(journey.folder, tmp_path_factory.mktemp("kinds") / "me"))


@pytest.mark.journey
def test_the_journey_as_jobs_is_done_already(me: Path) -> None:
    settings = list(REDUCED)
    whole = do("run", me, settings=settings)
    assert whole["skipped"] == ["check", "prepare", "train", "select", "generate", "score"]
    assert do("demo", me, person_seed=PERSON_SEED, settings=settings)["skipped"] == [
        *whole["skipped"],
        "showcase",
    ]
    for kind in ("prepare", "train", "generate", "score"):
        assert do(kind, me, settings=settings)
    assert do("pull", me) == {"models": []}
    same = do("compare", me, other=str(me))
    assert same["mean_a"] == same["mean_b"] == pytest.approx(whole["likeness"]["adapter_mean"])


@pytest.mark.journey
def test_a_portrait_as_jobs_change_it(me: Path) -> None:
    series = next(p for p in sorted((me / "portraits").iterdir()) if p.is_dir())
    first = sorted(series.glob("*.png"))[0].relative_to(me).as_posix()
    settings = [*REDUCED, "generate.num_inference_steps=2"]
    varied = do("vary", me, file=first, count=1, strength=0.3, settings=settings)
    assert len(varied["made"]) == 1 and Path(varied["made"][0]["file"]).is_file()
    with Image.open(me / first) as opened:
        mask = Image.new("L", opened.size)
    mask.paste(255, (8, 8, 24, 24))
    mask.save(me / "mask.png")
    painted = do("fix", me, file=first, mask="mask.png", tries=1, keep=True, strength=0.2)
    assert painted["region"] == "painted" and painted["changed_outside_mask"] == 0
    finished = do("finish", me, file=first, look="tri-x-like", out="finished")
    assert len(finished["pictures"]) == 1 and Path(finished["folder"]) == me / "finished"
    (me / "others").mkdir()
    for portrait in sorted(series.glob("*.png"))[:3]:
        shutil.copy(portrait, me / "others")
    judged = do("judge", me, portraits="others")
    assert judged["portraits"] == 3 and (me / "others_report" / "drift.html").is_file()


def test_exit_codes_of_what_was_done_and_is_not_good_enough() -> None:
    codes = {kind: KINDS[kind].code for kind in ("check", "fix", "finish", "run")}
    assert (codes["check"]({"enough": True}), codes["check"]({"enough": False})) == (0, 3)
    assert (codes["fix"]({"kept": True}), codes["fix"]({"kept": False})) == (0, 1)
    pictures = [{"file": "a"}, {"file": None}]
    assert (codes["finish"]({"pictures": pictures[:1]}), codes["finish"]({"pictures": pictures})) == (0, 1)
    assert codes["run"]({}) == 0


def photographs(folder: Path) -> Path:
    (folder / "photos").mkdir(parents=True)
    for i in range(3):
        Image.effect_noise((64, 64), 40 + i).convert("RGB").save(folder / "photos" / f"{i}.jpg")
    return folder


def test_photographs_without_consent_and_models_that_are_not_here(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "me")
    for kind in ("train", "run"):
        assert "no consent is recorded" in error_of(kind, folder, allow_synthetic_models=True)["what"]
    missing = error_of("prepare", folder, settings=["base=sdxl"])
    assert "not on this machine" in missing["what"] and "jobs add pull" in missing["remedy"]
    assert sorted(p.name for p in folder.iterdir()) == ["photos"]
    assert error_of("finish", folder, file="nope.png", look="tri-x-like")["what"] == "no such picture"
    (folder / "link.png").symlink_to("/etc/hostname")
    assert "outside" in error_of("finish", folder, file="link.png", look="tri-x-like")["what"]
    assert "Prepare the likeness first" in error_of("judge", folder, portraits="nope")["remedy"]


def test_every_kind_has_arguments_with_a_schema() -> None:
    for name, kind in KINDS.items():
        schema = kind.arguments.model_json_schema()
        assert schema["additionalProperties"] is False and kind.name == name and kind.about
        assert {"settings", "allow_synthetic_models"} <= set(schema["properties"])
    with pytest.raises(InputError, match="either a region or a mask"):
        arguments.read(arguments.Fix, "fix", {"file": "a.png", "region": "eyes", "mask": "b.png"})
