"""Whether the words that the built-in captioner writes for photographs are true, judged by eye.

python -m scripts.evaluate.photograph_captions --photos DIR --pack DIR --out DIR [--list FILE]
python -m scripts.evaluate.photograph_captions --judged CSV [CSV ...]

The first form writes `words.csv` (file,word,true) and numbered contact sheets of the crops with their words
into --out, a folder outside the repository: photographs of people do not belong into it.  Look at the sheets,
fill the column `true` with yes or no, and give the file to the second form.  The shot (close-up, headshot) is
not asked for: it follows from the crop's own size.
"""

from __future__ import annotations

import csv
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from portrait_lora.config import CheckConfig
from portrait_lora.dataset.checks import check_photo
from portrait_lora.dataset.crop import render_crop
from portrait_lora.dataset.person import head_extent
from portrait_lora.dataset.photograph_caption import PhotographCaptioner
from portrait_lora.dataset.photograph_crop import frame_photograph
from portrait_lora.dataset.photos import load_photo
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.log import progress
from portrait_lora.records import RGBImage
from portrait_lora.stages.configured import check_of
from scripts.evaluate.photographs import share
from scripts.rows import Row, arguments, finish

TARGET: Final = 0.95
FIELDS: Final = ("style", "view", "facing", "expression", "wardrobe", "setting", "lighting")
HEADER: Final = ("file", "word", "true")
_SIZE_PX: Final = (192, 256)
_TEXT_PX: Final = 200
_COLUMNS, _PER_SHEET = 4, 20
_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def words_of(path: Path, analyzer: Analyzer) -> tuple[RGBImage, list[str]] | None:
    """The wider crop of a photo and the words of its caption; None when no face is found."""
    report = check_photo(path, analyzer, check_of(CheckConfig()))
    if report.face is None:
        return None
    width, height = report.photo.size_px
    _, image = load_photo(path, max_pixels=width * height)
    face = report.face
    framing = frame_photograph(path, report.photo.size_px, face, head_extent(image, face), _SIZE_PX)[-1]
    look = PhotographCaptioner("ohwx", "person").look(image, face, framing)
    return render_crop(image, framing), [w for f in FIELDS if (w := getattr(look, f)) is not None]


def sheet(tiles: Sequence[tuple[str, RGBImage, Sequence[str]]], first: int) -> RGBImage:
    """A contact sheet: each crop with its number, name and words."""
    width, height = _SIZE_PX
    rows = -(-len(tiles) // _COLUMNS)
    page = np.full((rows * (height + 4), _COLUMNS * (width + _TEXT_PX + 4), 3), 24, np.uint8)
    for index, (name, crop, words) in enumerate(tiles):
        top, left = index // _COLUMNS * (height + 4), index % _COLUMNS * (width + _TEXT_PX + 4)
        page[top : top + height, left : left + width] = crop
        for line, text in enumerate([f"{first + index} {name[-20:]}", *words]):
            at = (left + width + 4, top + 18 + 22 * line)
            colour = (150, 150, 150) if line == 0 else (255, 230, 120)
            cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1)
    return page


def write(folder: Path, files: Sequence[Path], pack: str, out: Path) -> int:
    """Write the words and the sheets; the number of words."""
    analyzer = open_analyzer(resolve_pack(pack))
    tiles: list[tuple[str, RGBImage, Sequence[str]]] = []
    with progress("captioning photos", len(files)) as advance:
        for file in files:
            seen = words_of(file, analyzer)
            if seen is not None:
                tiles.append((file.relative_to(folder).as_posix(), *seen))
            advance(1)
    tiles = [tile for tile in tiles if tile[2]] + [tile for tile in tiles if not tile[2]]
    out.mkdir(parents=True, exist_ok=True)
    lines = [HEADER, *((name, word, "") for name, _, words in tiles for word in words)]
    with (out / "words.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows(lines)
    for first in range(0, len(tiles), _PER_SHEET):
        page = sheet(tiles[first : first + _PER_SHEET], first)
        Image.fromarray(page).save(out / f"sheet_{first:04d}.jpg", quality=88)
    print(f"{len(lines) - 1} words for {len(tiles)} photos, {sum(not t[2] for t in tiles)} without any")
    return len(lines) - 1


def judged_rows(files: Sequence[Path]) -> list[Row]:
    """The share of true words, in all and by kind.  Raises ValueError for a word that was not judged."""
    counts: Counter[tuple[str, bool]] = Counter()
    for file, line, row in _lines(files):
        if row["true"] not in ("yes", "no"):
            raise ValueError(f"{file}:{line}: true is {row['true']!r}, not yes or no")
        counts[row["word"].split()[-1], row["true"] == "yes"] += 1
    kinds = sorted({kind for kind, _ in counts})
    total = sum(counts.values())
    rows = share("words that are true", sum(n for (_, true), n in counts.items() if true), total, TARGET)
    for kind in kinds:
        rows += share(f"  … {kind}", counts[kind, True], counts[kind, True] + counts[kind, False])
    return rows


def _lines(files: Sequence[Path]) -> Iterator[tuple[Path, int, dict[str, str]]]:
    for file in files:
        with file.open(newline="", encoding="utf-8-sig") as table:
            reader = csv.DictReader(table)
            if tuple(reader.fieldnames or ()) != HEADER:
                raise ValueError(f"{file}: the first line must be {','.join(HEADER)}")
            for row in reader:
                yield file, reader.line_num, {k: (v or "").strip() for k, v in row.items()}


def photo_files(folder: Path, listed: Path | None) -> list[Path]:
    """The pictures below a folder, or those of a list (paths relative to the folder, one a line)."""
    if listed is not None:
        return [folder / line for line in listed.read_text(encoding="utf-8").split("\n") if line.strip()]
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--photos", type=Path, help="folder of photographs; its subfolders are read")
    parser.add_argument("--pack", help="face pack for photographs")
    parser.add_argument("--out", type=Path, help="folder outside the repository for words and sheets")
    parser.add_argument("--list", type=Path, default=None, help="only these files of --photos, one a line")
    parser.add_argument("--judged", type=Path, nargs="+", help="words.csv with the column `true` filled in")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    if args.judged:
        sys.exit(finish(judged_rows(args.judged), args.json))
    if not (args.photos and args.pack and args.out):
        parser.error("--photos, --pack and --out are needed, or --judged")
    if args.out.resolve().is_relative_to(Path(__file__).resolve().parents[2]):
        parser.error("--out lies in the repository: photographs of people do not belong there")
    write(args.photos, photo_files(args.photos, args.list), args.pack, args.out)


if __name__ == "__main__":
    main()
