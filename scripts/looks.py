"""The sheet of looks in docs/finishing.md: one portrait of the studio, and every shipped look of it.

python -m scripts.looks [--person-seed N] [--out docs/finishing-looks.jpg]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from portrait_lora import provenance
from portrait_lora.finishing.look import packaged_looks
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.taking import picture_of, plain_photo
from portrait_lora.tasks import finish as finishing

TILE_PX = (320, 400)
COLUMNS = 5
CAPTION_PX = 26


def sheet(person_seed: int, index: int) -> Image.Image:
    """Before, then every look in order of its name, each within one tile."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "portrait.png"
        portrait = picture_of(plain_photo(sample_people([person_seed]), person_seed, index))
        portrait.save(source, pnginfo=provenance.png_info(None))
        tiles = [("before", portrait)]
        for name in packaged_looks():
            (one,) = finishing.finish(source, name, None, Path(folder) / name, []).pictures
            if one.file is None:
                raise RuntimeError(f"{name}: {one.refused}")
            picture = Image.open(one.file).convert("RGB")
            if picture.tobytes() != portrait.tobytes():  # a look of further files alone leaves it as it is
                tiles.append((name, picture))
        return _laid_out(tiles)


def _laid_out(tiles: list[tuple[str, Image.Image]]) -> Image.Image:
    width, height = TILE_PX
    rows = -(-len(tiles) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (width + 12) + 12, rows * (height + CAPTION_PX + 12) + 12), "#faf8f4")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for place, (name, picture) in enumerate(tiles):
        small = picture.copy()
        small.thumbnail(TILE_PX, Image.Resampling.LANCZOS)
        x = 12 + (place % COLUMNS) * (width + 12)
        y = 12 + (place // COLUMNS) * (height + CAPTION_PX + 12)
        page.paste(small, (x + (width - small.width) // 2, y + (height - small.height) // 2))
        pen.text((x + 2, y + height + 4), name, fill="#55524d", font=font)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--person-seed", type=int, default=4005)
    parser.add_argument("--index", type=int, default=0, help="another scene of that person")
    parser.add_argument("--out", type=Path, default=Path("docs/finishing-looks.jpg"))
    args = parser.parse_args()
    page = sheet(args.person_seed, args.index)
    mark = provenance.xmp_bytes(provenance.ALGORITHMIC, creator_tool=provenance.STUDIO)
    Image.fromarray(np.asarray(page)).save(args.out, quality=88, xmp=mark)
    print(args.out)


if __name__ == "__main__":
    main()
