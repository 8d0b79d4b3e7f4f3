"""Everything that stands beside the headline, from hand-made faces; and the charts that show it."""

import csv

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.evaluation import charts, drift_words, protocol, tables
from portrait_lora.evaluation.copyview import view
from portrait_lora.evaluation.drift import drift_report
from portrait_lora.evaluation.similarity import ReferenceSet
from portrait_lora.evaluation.thresholds import Threshold, read_threshold, write_threshold
from portrait_lora.records import Face, IdentityScore
from tests.evaluation.drawn import KEYPOINTS, drawn_scene

HOLDOUT = ReferenceSet(np.array([[1, 0, 0], [0.8, 0.6, 0]]), ("h0.png", "h1.png"), "b", (0.0, 30.0))
TRAINING = ReferenceSet(np.array([[0.9, 0.1, 0], [0.7, 0.7, 0]]), ("t0.png", "t1.png"), "b", (5.0, 40.0))
GALLERY = np.array([[[0, 0, 1.0]], [[0, 0.3, 1.0]]])


def face(yaw):
    box = (50.0, 60.0, 140.0, 160.0)
    unit = np.float32([0.9, 0.4, 0])
    return Face(box, 1.0, KEYPOINTS, unit, "b", 1.0, 1.0, (0.0, yaw, 0.0), "smiling")


def measured():
    seen, scores = [], []
    for i in range(8):
        name, prompt = f"p{i}.png", f"frontal headshot, smiling, wording {i % 3}"
        detected = None if i == 7 else face(5.0 * i)
        around = None if detected is None else view(drawn_scene(0 if i == 1 else 300 + i), KEYPOINTS)
        seen.append(protocol.Seen(name, prompt, detected, around))
        scores.append(
            IdentityScore(name, prompt, None, None, None, "b")
            if detected is None
            else IdentityScore(
                name, prompt, 0.3 + 0.05 * i, "h0.png", "frontal", "b", 5.0 * i, 20.0 + 30 * i, 1 + (i == 2)
            )
        )
    photos = [view(drawn_scene(i), KEYPOINTS) for i in range(4)]
    copied = protocol.copies(seen, photos[:2], photos[2:], TRAINING.names, len(scores))
    report = drift_report(
        scores, [], holdout=HOLDOUT.names, pack_digest="d" * 64, threshold=0.45, false_match_rate=1e-3,
        ceiling=0.8, impostor=0.1, copy_score=copied.score,
    )  # fmt: skip
    extras = protocol.extras(
        report, seen, training=TRAINING, holdout=HOLDOUT, photo_views=photos, impostors=GALLERY,
        copied=copied, unreadable=["p7.png"],
        meanings={f"frontal headshot, smiling, wording {k}": "smile" for k in range(3)},
    )  # fmt: skip
    return report, extras


REPORT, EXTRAS = measured()


def test_the_extras_say_what_was_there():
    assert EXTRAS.copies.copied == (("p1.png", "t0.png"),)
    assert EXTRAS.copies.score == pytest.approx(1 / 8)
    assert EXTRAS.several_faces == ("p2.png",)
    assert EXTRAS.tiny_faces == ("p0.png",)
    assert EXTRAS.unreadable == ("p7.png",)
    assert len(EXTRAS.real_scores) == 4
    assert len(EXTRAS.impostor_scores) == 2
    assert 0 < EXTRAS.ceiling_pose_matched <= 1
    assert 0.5 < EXTRAS.adherence < 1.0  # smiling always; frontal up to 15 degrees; the last has no face
    assert EXTRAS.paraphrases.wordings == 3
    assert EXTRAS.needed.per_prompt == 3
    assert sum(b.portraits for b in EXTRAS.by_face_size) == 7
    assert EXTRAS.protocol == protocol.VERSION


def test_too_few_real_photos_have_no_copy_score():
    photos = [view(drawn_scene(i), KEYPOINTS) for i in range(2)]
    assert protocol.copies([], photos[:1], photos[1:], ("t0.png",), 3) is None
    assert protocol.copies([], [], photos, (), 3) is None


def test_the_page_tells_it_in_words():
    remarks = " ".join(drift_words.remarks(EXTRAS))
    for words in (
        "p1.png (t0.png)",
        "p7.png: cannot be read",
        "p2.png: shows several faces",
        "p0.png: has a face too",
    ):
        assert words in remarks
    facts = drift_words.set_facts(EXTRAS)
    assert {"View and expression as asked", "Diversity", "Drift over paraphrases"} <= set(facts)
    assert drift_words.named([str(i) for i in range(9)]) == "0, 1, 2, 3, 4 and 4 more"


def test_the_charts_hold_every_value():
    figure = charts.distribution(REPORT, EXTRAS, 340)
    assert [(lane.kind, lane.count) for lane in figure.lanes] == [
        ("impostor", 2),
        ("adapter", 8),
        ("ceiling", 4),
    ]
    assert all(bar.x >= 0 and bar.x + bar.width <= 340 for lane in figure.lanes for bar in lane.bars)
    rows = charts.heat_map(REPORT)
    assert [row.mean for row in rows] == sorted(row.mean for row in rows)
    assert sum(len(row.cells) for row in rows) == 8
    assert all(0 <= cell.share <= 1 for row in rows for cell in row.cells)
    assert charts.worst(REPORT)[0].portrait == "p7.png"
    assert charts.worst(REPORT)[1].portrait == "p0.png"


def test_tables_read_back_without_embeddings(tmp_path):
    from datasets import load_dataset

    tables.write_csv(tmp_path / "drift.csv", REPORT)
    tables.write_parquet(tmp_path / "drift.parquet", REPORT)
    with (tmp_path / "drift.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["portrait"] for row in rows] == [s.portrait for s in REPORT.scores]
    assert rows[7]["similarity"] == "" and rows[7]["counted"] == "0.0"
    table = load_dataset(
        "parquet",
        data_files=str(tmp_path / "drift.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert table.column_names == list(tables.COLUMNS)
    assert table[7]["similarity"] is None
    assert table[3]["similarity"] == pytest.approx(0.45)
    assert table[3]["verified"] is True


def test_a_threshold_belongs_to_its_pack(tmp_path):
    own = Threshold(0.4, 1e-2, "b", "d", 3, 10, 900, "my colleagues")
    write_threshold(tmp_path / "t.json", own)
    assert read_threshold(tmp_path / "t.json", pack_digest="d") == own
    with pytest.raises(InputError, match="another face pack"):
        read_threshold(tmp_path / "t.json", pack_digest="e")
    (tmp_path / "t.json").write_text('{"similarity": 0.4}')
    with pytest.raises(InputError, match="not a threshold file"):
        read_threshold(tmp_path / "t.json", pack_digest="d")


def test_a_broken_report_is_an_error(tmp_path):
    (tmp_path / "drift.json").write_text('{"scores": [{}]}')
    with pytest.raises(InputError, match="not a report"):
        tables.read_measured(tmp_path / "drift.json")
