"""The sheet of README and docs/finishing.md: the end of the demo for one studio person.

python -m scripts.finished [--person-seed N] [--demo DIR] [--out docs/finished.jpg]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from portrait_lora import recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--person-seed", type=int, default=4005)
    parser.add_argument("--demo", type=Path, default=Path("work/finished"), help="folder of that demo")
    parser.add_argument("--out", type=Path, default=Path("docs/finished.jpg"))
    args = parser.parse_args()
    result = recipe.demo(args.demo, args.person_seed)
    if result.showcase is None:
        raise RuntimeError("the demo was not finished")
    shutil.copyfile(result.showcase.sheet, args.out)
    print(args.out)


if __name__ == "__main__":
    main()
