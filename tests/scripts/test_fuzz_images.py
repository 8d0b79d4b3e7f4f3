"""Two thousand mutated files end in pixels or a finding; each is reproduced from its number."""

from collections import Counter

from scripts.bench.fuzz_images import MAX_SECONDS, fuzz, mutated, seed_files


def test_mutated_files_give_pixels_or_findings(tmp_path):
    outcomes = list(fuzz(2_000, seed=0, folder=tmp_path))
    kinds = Counter(o.kind for o in outcomes)
    assert set(kinds) == {"pixels", "finding"}, [o for o in outcomes if o.kind not in ("pixels", "finding")]
    assert min(kinds.values()) > 200
    assert MAX_SECONDS == 2.0


def test_a_mutation_depends_on_seed_and_number_only():
    files = seed_files()
    assert mutated(files, 1, 7) == mutated(files, 1, 7)
    assert mutated(files, 1, 7) != mutated(files, 2, 7)
    assert len({mutated(files, 0, n) for n in range(50)}) > 45
