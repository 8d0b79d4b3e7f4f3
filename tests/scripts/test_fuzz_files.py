"""Some hundred mutated files end in a value or a typed error; each is reproduced from its number."""

from collections import Counter
from pathlib import Path

from scripts.bench import fuzz_files
from scripts.bench.fuzz_files import MAX_SECONDS, Kind, fuzz, kinds, mutated


def test_mutated_files_end_in_values_or_typed_errors(tmp_path: Path) -> None:
    outcomes = list(fuzz(400, seed=1, folder=tmp_path))
    came = Counter(o.kind for o in outcomes)
    assert set(came) == {"read", "error"}, [o for o in outcomes if o.kind not in ("read", "error")]
    assert min(came.values()) > 40
    assert max(o.seconds for o in outcomes) < MAX_SECONDS


def test_every_kind_is_read_whole_before_it_is_mutated(tmp_path: Path) -> None:
    for kind in kinds():
        reads = Counter[str]()
        for data in kind.seeds:
            (tmp_path / kind.file).write_bytes(data)
            for reader in kind.readers:
                one = fuzz_files.outcome(kind, reader, tmp_path / kind.file, 0)
                assert one.kind in ("read", "error"), one
                reads[reader] += one.kind == "read"
            (tmp_path / kind.file).unlink()
        needs_weights = {"face pack"}
        assert {r for r in kind.readers if not reads[r]} <= needs_weights | {"override", "adapter"}, kind.name


def test_an_untyped_error_is_seen(tmp_path: Path) -> None:
    def careless(path: Path) -> object:
        raise ValueError(path)

    (tmp_path / "a").write_bytes(b"x")
    one = fuzz_files.outcome(Kind("K", "a", (b"x",), {"r": careless}), "r", tmp_path / "a", 3)
    assert one.kind == "K, r: ValueError"


def test_a_mutation_depends_on_seed_and_number_only() -> None:
    kind = kinds()[1]
    assert mutated(kind, 1, 7) == mutated(kind, 1, 7)
    assert mutated(kind, 1, 7) != mutated(kind, 2, 7)
    assert len({mutated(kind, 0, n) for n in range(50)}) > 45
