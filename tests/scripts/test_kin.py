"""Relatives of the people of a corpus."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from portrait_lora.synthetic import between, distance, sample_people
from scripts.train import render_corpus
from scripts.train.corpus import Corpus
from scripts.train.kin import kin_of, people_of


def test_people_between_two_others_keep_what_has_no_degree():
    a, b = sample_people([1, 2]), sample_people([3, 4])
    blends = between(a, b, torch.tensor([0.0, 0.5]))
    assert blends.seeds == a.seeds
    assert torch.equal(blends.values["female"], a.values["female"])
    assert torch.equal(blends.values["moles"], a.values["moles"])
    jaw = blends.values["jaw_w"]
    assert jaw[0] == a.values["jaw_w"][0]
    assert jaw[1] == pytest.approx(float(a.values["jaw_w"][1] + b.values["jaw_w"][1]) / 2, abs=1e-6)


def test_relatives_lie_at_all_distances_and_are_reproducible():
    own = list(range(60))
    people, kin = people_of(own), people_of([kin_of(seed) for seed in own])
    strangers = sample_people(own)
    assert all(torch.equal(people.values[k], strangers.values[k]) for k in strangers.values)
    assert kin.seeds == tuple(kin_of(seed) for seed in own)
    apart = distance(people, kin)
    assert float(apart.min()) < 0.2 and float(apart.max()) > 0.8
    mixed = people_of([7, kin_of(7)])
    assert torch.equal(
        mixed.values["jaw_w"], torch.stack([people.values["jaw_w"][7], kin.values["jaw_w"][7]])
    )


def test_a_corpus_of_relatives_names_them(tmp_path: Path):
    first = render_corpus.FIRST_TRAINING_SEED
    jobs = render_corpus.plan([kin_of(first), kin_of(first + 1)], 1, 32, 1, 2, tmp_path, pictures=1)
    assert len(jobs) == 2
    for job in jobs:
        render_corpus.render_shard(job)
    assert Corpus(tmp_path).column("person").tolist() == [kin_of(first), kin_of(first + 1)]
