"""Mutated files of every kind that is not a picture, through the program's own readers: only typed errors.

python -m scripts.bench.fuzz_files            2,000 files
python -m scripts.bench.fuzz_files --full     20,000 files
python -m scripts.bench.fuzz_files --seed 3   other mutations
    ... --work FOLDER --part 1/2        in parts of 2,000, kept in FOLDER; the last call is without --part

YAML, JSON, CSV, headers of safetensors files, PNG chunks and XMP packets.  Every mutation is a function of
(seed, number), so a failure is reproduced from its number alone.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from portrait_lora import config, manifest, provenance
from portrait_lora.dataset.caption import read_captions
from portrait_lora.dataset.sidecars import read_metadata
from portrait_lora.errors import PortraitError
from portrait_lora.evaluation.tables import read_measured
from portrait_lora.faces.packs import PACK_FILE, embedded_folder, resolve_pack
from portrait_lora.families.adapter_file import lora_layers, read_adapter
from portrait_lora.generation.brand import load_brand
from portrait_lora.generation.series import read_series
from portrait_lora.hub import lock
from portrait_lora.likeness import Journal
from portrait_lora.results import PrepareResult
from portrait_lora.rights import consent
from portrait_lora.tasks.compare import _labels
from portrait_lora.tasks.inspect import inspect_file
from portrait_lora.tasks.judge import _rows
from scripts import parts
from scripts.rows import Row, arguments, finish

QUICK, FULL, PART = 2_000, 20_000, 2_000
SOURCES = ("portrait_lora/**/*.py", "scripts/bench/fuzz_files.py")
MAX_SECONDS = 2.0
MAX_GROWTH_GIB = 500 / 1024
TODAY = dt.date(2026, 11, 29)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file: its name on disk, whole files to begin from, and who reads it."""

    name: str
    file: str
    seeds: tuple[bytes, ...]
    readers: Mapping[str, Callable[[Path], object]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one file; `kind` is `read`, `error` or the reader and type of what got out.

    `seconds` are those of the processor: other programs on the machine do not count.
    """

    number: int
    kind: str
    seconds: float


def kinds() -> tuple[Kind, ...]:
    """Every kind with its seeds; the same ones in every process."""
    return _yaml(), _json(), _lines(), _csv(), _safetensors(), _png()


def _yaml() -> Kind:
    packaged = [p.read_bytes() for p in sorted(config.configs_dir().rglob("*.yaml"))]
    agreed = b"who: Anna\npurposes: [training, portraits]\nuntil: 2027-01-31\nstatement: I agree.\n"
    odd = b"a: &a [x, y]\nb: {c: *a, d: 'e', f: \"g\\u00e9\"}\ng: |\n  text\nh: >-\n  more\n? i\n: .inf\n"
    readers = {
        "config": config.load,
        "override": lambda file: config.load(None, [f"training={_text(file)}"]),
        "consent": lambda file: consent.of_file(file, TODAY),
        "series": read_series,
        "brand": load_brand,
    }
    return Kind("YAML", "mutated.yaml", (*packaged, agreed, odd), readers)


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "replace")


def _json() -> Kind:
    digest = "0" * 64
    files = {"a/b.json": digest, "c.png": digest}
    locked = {"asked": "main", "commit": "0" * 40, "files": {"a": {"sha256": digest, "size": 3}}}
    score = {"portrait": "a.png", "prompt": "a", "similarity": 0.5, "nearest": None, "pose_bin": None}
    score["embedder_id"] = "b"
    agreed = {"who": "Anna", "purposes": ["training"], "until": "2027-01-31", "statement": "I agree."}
    prepared = PrepareResult(crops=6, photos_for_training=3, held_out=("b.png",), captions=("a",))
    seeds = [
        {"kind": "dataset", "inputs": {"a": "b"}, "files": files, "extra": {"n": [1, 2.5, None]}},
        {"format": 1, "models": {"maker/model": locked}},
        asdict(consent.of_subject("Anna", TODAY)),
        agreed,
        {"prepare": {"inputs": {"a": "b"}, "seconds": 1.25, "summary": prepared.json_value()}},
        {"scores": [score], "name": "a", "pack_digest": digest, "holdout": ["b.png"]},
        json.loads((embedded_folder() / PACK_FILE).read_text(encoding="utf-8")),
    ]

    def as_(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
        def there(file: Path) -> object:
            (file.parent / name).write_bytes(file.read_bytes())
            try:
                return read(file.parent)
            finally:
                (file.parent / name).unlink()

        return there

    readers = {
        "manifest": as_(manifest.NAME, manifest.read),
        "lock": as_(lock.NAME, lock.read),
        "consent record": as_(consent.NAME, consent.read),
        "journal": as_("stages.json", lambda folder: Journal.open(folder).is_done("prepare", {"a": "b"})),
        "report": read_measured,
        "face pack": as_(PACK_FILE, lambda folder: resolve_pack(str(folder))),
        "consent": lambda file: consent.of_file(file, TODAY),
    }
    return Kind("JSON", "mutated.json", tuple(json.dumps(one, indent=1).encode() for one in seeds), readers)


def _lines() -> Kind:
    rows = [{"file_name": f"{i}.jpg", "text": f"caption {i} é"} for i in range(5)]
    seeds = (
        "\n".join(map(json.dumps, rows)).encode(),
        json.dumps({"file_name": "a", "caption": "😀"}).encode(),
    )
    return Kind("JSON lines", "metadata.jsonl", seeds, {"captions": read_metadata})


def _csv() -> Kind:
    seeds = (
        b'file,caption\r\na.jpg,"ohwx man, ""smiling"""\r\nb.jpg,\'=1+1\r\n',
        b'file,prompt\na.png,headshot of a man\nb.png,"line\nbreak"\n',
        b"name,age,light\nanna,30,hard\nbert,,soft\n",
    )
    readers = {"captions": read_captions, "prompts": _rows, "groups": _labels}
    return Kind("CSV", "mutated.csv", seeds, readers)


def _safetensors() -> Kind:
    about = {
        "portrait_lora.family": "sd15",
        "portrait_lora.rank": "4",
        "portrait_lora.target_modules": '["to_q"]',
    }
    whole = {
        "__metadata__": about,
        "a.lora_A.weight": {"dtype": "F16", "shape": [4, 8], "data_offsets": [0, 64]},
        "a.lora_B.weight": {"dtype": "F32", "shape": [8, 4], "data_offsets": [64, 192]},
    }
    seeds = []
    for header, data in ((whole, 192), ({}, 0), ({"__metadata__": about}, 0)):
        text = json.dumps(header).encode()
        seeds.append(struct.pack("<Q", len(text)) + text + bytes(data))
    readers = {"layers": lora_layers, "adapter": read_adapter, "inspect": inspect_file}
    return Kind("safetensors", "mutated.safetensors", tuple(seeds), readers)


def _png() -> Kind:
    recipe = {"prompt": "a man", "size_px": [8, 8], "seed": 1, "made": {"threads": 1, "batch_size": 1}}
    seeds = []
    for compressed, odd in ((False, ""), (True, ""), (False, "<x:DigitalSourceType>   " * 40)):
        info = PngInfo()
        info.add_itxt(provenance.XMP_KEY, provenance.xmp_packet() + odd, zip=compressed)
        info.add_itxt(provenance.RECIPE_KEY, json.dumps(recipe), zip=compressed)
        info.add_text("Comment", "é" * 30, zip=compressed)
        out = io.BytesIO()
        Image.new("RGB", (8, 8), (90, 60, 30)).save(out, "PNG", pnginfo=info)
        seeds.append(out.getvalue())
    readers = {
        "mark": provenance.source_type,
        "studio": provenance.is_studio_picture,
        "recipe": provenance.read_record,
        "inspect": inspect_file,
    }
    return Kind("PNG and XMP", "mutated.png", tuple(seeds), readers)


def _flip(data: bytearray, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(data), int(rng.integers(1, 8))):
        data[int(at)] ^= 1 << int(rng.integers(8))
    return data


def _drop(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 60))]
    return data


def _truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def _repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A stretch many times over: depth, length, keys that stand twice."""
    start = int(rng.integers(len(data)))
    piece = data[start : start + int(rng.integers(1, 40))]
    return data[:start] + piece * int(rng.choice([2, 30, 3000])) + data[start:]


TOKENS = (
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"'",
        b":",
        b",",
        b"\n",
        b"\t",
        b"\0",
        b"&a ",
        b"*a",
        b"<<: *a\n",
        b"!!python/",
    ),
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b".inf",
        b"1e999",
        b"9" * 400,
        b"-1",
        b"\xff",
        b"\xc2\xa0",
        b"\\ud83d",
    ),
    *(
        b"[" * 2000,
        b'{"a":' * 2000,
        b"? " * 2000,
        b" " * 60_000,
        b"DigitalSourceType>",
        b"2027-02-31",
        b"0o8",
        b"#",
    ),
)


def _insert(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + TOKENS[int(rng.integers(len(TOKENS)))] + data[at:]


def _replace_word(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Another value in the place of what stands between two separators."""
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, 12))
    data[start : start + length] = TOKENS[int(rng.integers(len(TOKENS)))]
    return data


MUTATIONS = (_flip, _drop, _truncate, _repeat, _insert, _insert, _replace_word)


def mutated(kind: Kind, seed: int, number: int) -> bytes:
    """The bytes of one mutated file: up to three mutations.

    In most files lengths and checksums are corrected, so that what lies behind them is reached.
    """
    rng = np.random.default_rng([seed, number])
    data = bytearray(kind.seeds[int(rng.integers(len(kind.seeds)))])
    whole, right = bytes(data), rng.random() < 0.7
    if right and kind.name == "safetensors":
        length = struct.unpack("<Q", data[:8])[0]
        text = _changed(bytearray(data[8 : 8 + length]), rng)
        return struct.pack("<Q", len(text)) + bytes(text) + whole[8 + length :]
    if right and kind.name.startswith("PNG"):
        return _with_chunk(whole, rng)
    return bytes(_changed(data, rng))


def _changed(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 4))):
        if data:
            data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng)
    return data


def _with_chunk(data: bytes, rng: np.random.Generator) -> bytes:
    """One text chunk of a PNG changed, its length and checksum right, or a bomb put in its place."""
    start = data.index(b"iTXt", 0 if rng.random() < 0.5 else data.index(b"iTXt") + 4) - 4
    length = struct.unpack(">I", data[start : start + 4])[0]
    kind, body = b"iTXt", bytearray(data[start + 8 : start + 8 + length])
    if rng.random() < 0.1:
        kind, body = (
            b"zTXt",
            bytearray(b"portrait_lora\0\0" + zlib.compress(bytes(int(rng.integers(20_000_000))), 1)),
        )
    else:
        key = body.index(b"\0") if rng.random() < 0.8 else 0
        body = body[:key] + _changed(body[key:], rng)
    checksum = zlib.crc32(kind + body)
    chunk = struct.pack(">I", len(body)) + kind + bytes(body) + struct.pack(">I", checksum)
    return data[:start] + chunk + data[start + 12 + length :]


def outcome(kind: Kind, reader: str, path: Path, number: int, tries: int = 3) -> Outcome:
    """Read one file; a slow one again, as the machine may have been busy."""
    one = _outcome(kind, reader, path, number)
    for _ in range(tries - 1):
        if one.seconds <= MAX_SECONDS:
            break
        again = _outcome(kind, reader, path, number)
        one = replace(again, seconds=min(one.seconds, again.seconds))
    return one


def _outcome(kind: Kind, reader: str, path: Path, number: int) -> Outcome:
    started = time.process_time()
    try:
        kind.readers[reader](path)
        came = "read"
    except PortraitError as error:
        came = "error" if error.what else "an error without words"
    except BaseException as error:
        came = f"{kind.name}, {reader}: {type(error).__name__}"
    return Outcome(number, came, time.process_time() - started)


def fuzz(count: int, seed: int, folder: Path, first: int = 0) -> Iterator[Outcome]:
    """Every file goes to one reader of its kind, all of them in turn; one file at a time is on the disk."""
    every = [(kind, reader) for kind in kinds() for reader in kind.readers]
    for number in range(first, first + count):
        kind, reader = every[number % len(every)]
        path = folder / kind.file
        path.write_bytes(mutated(kind, seed, number))
        yield outcome(kind, reader, path, number)
        path.unlink()


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def fuzz_part(name: str, seed: int) -> parts.Result:
    """The part named after its first file: how many of each outcome, the slowest, growth of memory."""
    first, came = int(name), Counter[str]()
    slowest = Outcome(-1, "", 0.0)
    before = _peak_gib()
    with tempfile.TemporaryDirectory() as folder:
        for one in fuzz(PART, seed, Path(folder), first):
            came[one.kind] += 1
            slowest = max(slowest, one, key=lambda o: o.seconds)
            if one.kind not in ("read", "error"):
                print(f"  file {one.number} of seed {seed}: {one.kind}", flush=True)
    return {
        "kinds": dict(came),
        "slowest": [slowest.seconds, slowest.number],
        "growth_gib": _peak_gib() - before,
    }


def fuzz_rows(results: list[parts.Result]) -> list[Row]:
    """The figures of all parts."""
    came = Counter[str]()
    for part in results:
        came.update(part["kinds"])
    count = came.total()
    bad = count - came["read"] - came["error"]
    seconds, number = max(part["slowest"] for part in results)
    growth = max(part["growth_gib"] for part in results)
    return [
        Row("files: outcomes that are no typed error", bad, "files", count, 0, at_most=True),
        Row(f"files: slowest (file {number})", seconds, "s", count, MAX_SECONDS, at_most=True),
        Row("files: growth of memory over all of them", growth, "GiB", count, MAX_GROWTH_GIB, at_most=True),
        Row("files: read in spite of the damage", came["read"] / count, "share", count),
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parts.add_arguments(parser)
    args = parser.parse_args()
    names = [f"{first:06d}" for first in range(0, FULL if args.full else QUICK, PART)]
    name = "fuzz-files-" + parts.key(str(args.seed), sources=SOURCES)
    results = parts.collect(
        names, lambda one: fuzz_part(one, args.seed), work=args.work, name=name, part=args.part
    )
    sys.exit(0 if results is None else finish(fuzz_rows(results), args.json))


if __name__ == "__main__":
    main()
