"""The gallery of other people and both thresholds: ragged folders, too few people, atomic replacement."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.evaluation.thresholds import mean_of_k, threshold_at
from portrait_lora.faces.backends import open_untested
from portrait_lora.faces.pack import FacePack
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.tasks import gallery
from portrait_lora.tasks.gallery import make_gallery, pictures_each
from tests.faces.made_up_people import MadeUp, vector, write_people
from tests.faces.test_strangers import without_gallery
from tests.test_help import run


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FacePack:
    monkeypatch.setattr(gallery, "open_analyzer", lambda pack, role: MadeUp(role))
    return resolve_pack(str(without_gallery(tmp_path / "pack", synthetic=False, calibrated=False)))


def crowd(count: int, pictures: int) -> dict[str, list[tuple[int, int]]]:
    return {f"p{i:03}": [(i, k) for k in range(pictures)] for i in range(count)}


def test_both_thresholds_are_derived_and_stored_with_their_derivation(pack: FacePack, tmp_path: Path) -> None:
    result = make_gallery(pack, write_people(tmp_path / "people", crowd(56, 5)))
    assert (result.people, result.pictures_each, result.left_out) == (56, 5, ())
    stored = resolve_pack(str(pack.folder))
    for role in gallery.ROLES:
        one = result.derived[role]
        people = [np.stack([vector(p, k, role) for k in range(5)]) for p in range(56)]
        trials = mean_of_k(people, 3)
        assert one.similarity == pytest.approx(threshold_at(1e-3, trials.impostor), abs=1e-4)
        assert (one.people, one.references, one.impostor_comparisons) == (56, 3, 56 * 55 * 2)
        assert stored.threshold(role) == one.similarity and stored.rate_at_threshold(role) == 1e-3
        assert one.genuine_accepted > 0.99
        table = open_untested(stored, role).impostor_embeddings()
        assert table.shape == (56, 5, 64)
    assert stored.abilities["calibrated threshold"] and not pack.abilities["calibrated threshold"]


def test_too_few_people_give_a_gallery_and_no_threshold(pack: FacePack, tmp_path: Path) -> None:
    result = make_gallery(pack, write_people(tmp_path / "people", crowd(55, 5)))
    assert result.derived == {} and "55 people make 2970 pairs" in result.not_derived
    assert "56 people" in result.not_derived
    stored = resolve_pack(str(pack.folder))
    assert stored.threshold("report") == pack.threshold("report") and stored.impostors
    with pytest.raises(InputError, match=r"4 people .*; left out: nobody"):
        make_gallery(stored, write_people(tmp_path / "few", crowd(4, 3)))


def test_one_person_with_few_pictures_does_not_decide_for_all(pack: FacePack, tmp_path: Path) -> None:
    own = crowd(60, 5)
    own["p000"] = own["p000"][:2]
    result = make_gallery(pack, write_people(tmp_path / "people", own))
    assert (result.people, result.pictures_each) == (59, 5)
    assert result.derived["select"].people == 59


@pytest.mark.parametrize(
    ("counts", "each"),
    [([2] + [6] * 5, 6), ([2] * 20 + [3] * 5, 2), ([3] * 5, 3), ([2] * 5 + [6] * 4, 2)],
)
def test_the_number_of_pictures_that_keeps_most(counts: list[int], each: int) -> None:
    assert pictures_each(counts) == each


def test_people_with_two_pictures_are_compared_with_one(pack: FacePack, tmp_path: Path) -> None:
    result = make_gallery(pack, write_people(tmp_path / "people", crowd(60, 2)))
    assert result.derived["report"].references == 1


def test_mistakes_in_the_folder_do_not_move_the_threshold(pack: FacePack, tmp_path: Path) -> None:
    clean = make_gallery(pack, write_people(tmp_path / "clean", crowd(60, 5)))
    own = crowd(60, 5) | {"twin": [(7, k) for k in range(60, 65)]}
    own["p020"][1] = (21, 90)
    dirty = make_gallery(resolve_pack(str(pack.folder)), write_people(tmp_path / "dirty", own))
    assert sorted(one.sentence for one in dirty.left_out) == [
        "p020/1.png: shows another person than the rest of the folder",
        "twin: the same person as p007",
    ]
    assert dirty.derived["select"].similarity == pytest.approx(clean.derived["select"].similarity, abs=0.01)


def test_a_new_gallery_replaces_the_old_one_and_the_pack_is_whole_when_killed(
    pack: FacePack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_gallery(pack, write_people(tmp_path / "a", crowd(6, 3)))
    first = resolve_pack(str(pack.folder))
    people = write_people(tmp_path / "b", crowd(7, 3))

    def killed(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("portrait_lora.faces.impostors.manifest.write_json_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            make_gallery(first, people)
    assert resolve_pack(str(pack.folder)).digest == first.digest
    make_gallery(first, people)
    second = resolve_pack(str(pack.folder))
    assert second.impostors != first.impostors
    assert [p.name for p in pack.folder.glob("impostors*")] == [second.impostors]


def test_the_command_names_who_fell_out_and_the_remedy_of_a_missing_gallery_works(
    pack: FacePack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactError) as caught:
        open_untested(pack, "report").impostor_embeddings()
    words = str(caught.value.remedy).partition("portrait-lora ")[2].split()
    own = crowd(6, 3) | {"lonely": [(99, 0)]}
    people = write_people(tmp_path / "people", own)
    assert run(*(str(people) if word == "DIR" else word for word in words)) == 0
    output = capsys.readouterr().out
    assert "lonely: 1 usable pictures, 2 needed" in output and "no threshold derived: 6 people" in output
    assert run("gallery", pack.folder, "--people", people, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["people"] == 6 and value["left_out"][0]["person"] == "lonely"
