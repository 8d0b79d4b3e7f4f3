"""The files of a finished picture: encoded for delivery, placed beside earlier ones, with a sidecar."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from PIL import Image

from portrait_lora import manifest, provenance, removal, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.finishing.canvas import Canvas, Delivery, Product, to_bytes
from portrait_lora.generation import save
from portrait_lora.pictures import srgb
from portrait_lora.rights import bare, guard, marks
from portrait_lora.rights.credentials import Format

SUFFIX: Final = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
_KIND: Final[Mapping[str, Format]] = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "tiff": "TIFF"}
OF_PASSING: Final = ("strength", "likeness", "files")
"""What an entry of a record says besides the step and its settings."""
PRODUCTS: Final = "products"
MARK: Final = "watermark"
"""Key in the record of a finished picture; `KEPT`: that of the picture before, and no second one over it."""
KEPT: Final = "kept"
LAYERED: Final = (".ora", ".psd")
"""Products that a picture can come back from."""
LOOK_FOLDER: Final = "look_folder"
"""Key in the manifest of a finished series: where the files of its look lie."""
BY_ENCODER: Final = frozenset({".webp", ".avif", ".mp4"})
"""Suffixes of products that libwebp, libavif and ffmpeg compress."""
_ENCODERS: Final = ("pillow", "psd-tools", "imageio-ffmpeg")
_LEAST_QUALITY: Final = 40


def place(path: Path, data: bytes, canvas: Canvas, *, superseding: bool = False) -> Path:
    """The path, or the first numbered one beside it that is free or holds just these bytes.

    A file of a finish that was killed is gone on with; a layered file that was edited since is left alone.
    With `superseding`, what a sheet asked for earlier and nobody touched since makes way.
    """
    number, free = 2, path
    while not _is_ours(free, data, canvas):
        if superseding and withdraw(save.sidecar_of(free)):
            continue
        free, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return free


def _is_ours(path: Path, data: bytes, canvas: Canvas) -> bool:
    files = {path: data} | {beside(path, one): one.data for one in canvas.products}
    same = all(not file.exists() or bare.same(file.read_bytes(), content) for file, content in files.items())
    return same and (path.exists() or not save.sidecar_of(path).exists())


def beside(path: Path, product: Product) -> Path:
    """Where a product of the picture lies."""
    return path.with_name(f"{path.stem}{product.name}")


def write(
    canvas: Canvas,
    path: Path,
    record: save.Record,
    source: Path,
    data: bytes,
    extra: Mapping[str, object] | None = None,
) -> None:
    """The file (`data`, see `encoded`), further products beside it, then a sidecar with their sha256."""
    manifest.make_folder(path.parent)
    manifest.write_bytes_atomic(path, data)
    products: dict[str, str] = {}
    for product in canvas.products:
        file = beside(path, product)
        manifest.write_bytes_atomic(file, product.data)
        products[file.name] = manifest.sha256_file(file)
    sidecar = {
        "recipe": record,
        "sha256": manifest.sha256_file(path),
        PRODUCTS: products,
        "digital_source_type": provenance.source_type(source),
        "versions": versions(),
        "history": save.history(record),
        **(extra or {}),
    }
    manifest.write_json_atomic(save.sidecar_of(path), sidecar)


def versions() -> dict[str, str]:
    """The versions of the libraries that determine a finished picture and the files beside it."""
    return save.versions() | save.versions_of(*_ENCODERS)


def standing(folder: Path, stem: str, inputs: str) -> tuple[Path, Mapping[str, object]] | None:
    """The whole and untouched picture of these inputs with its sidecar; None when it has to be made."""
    for sidecar in sorted(folder.glob(f"{glob_safe(stem)}*.json")):
        content = _read(sidecar)
        picture = picture_of(sidecar, content)
        if picture is None or content.get("inputs") != inputs:
            continue
        if all(_is(file, digest) for file, digest in _files(picture, content)):
            return picture, content
    return None


def glob_safe(name: str) -> str:
    """The name as a pattern that matches itself alone."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in name)


def look_folder(folder: Path) -> list[Path]:
    """Where the files of the look of a finished series lie, as its manifest says; else none."""
    try:
        sealed = manifest.read(folder)
    except ArtifactError:
        return []
    place = sealed.extra.get(LOOK_FOLDER) if sealed else None
    return [Path(place)] if isinstance(place, str) else []


def picture_of(sidecar: Path, content: Mapping[str, object]) -> Path | None:
    """The picture that a sidecar speaks of, if it is there with its bytes."""
    wanted = content.get("sha256")
    files = (sidecar.with_suffix(suffix) for suffix in SUFFIX.values())
    return next((file for file in files if _is(file, wanted)), None)


def files_of(sidecar: Path) -> list[Path]:
    """A finished picture, what lies beside it and its sidecar, as far as they are there."""
    content = _read(sidecar)
    picture = picture_of(sidecar, content)
    rest = [sidecar.with_name(name) for name in _products(content)]
    return [p for p in (*([picture] if picture else []), *rest, sidecar) if p.is_file()]


def products_of(sidecar: Path) -> dict[str, str]:
    """File name -> sha256 of what was written beside a picture; empty for a record of an earlier version."""
    return _products(_read(sidecar))


def clips_of(sidecar: Path) -> list[Path]:
    """The moving pictures beside a picture."""
    return [sidecar.with_name(name) for name in products_of(sidecar) if Path(name).suffix in BY_ENCODER]


def digest_of(file: Product | Path) -> str | None:
    """Hex sha256 of a product or of a file, None where it is not."""
    if isinstance(file, Product):
        return hashlib.sha256(file.data).hexdigest()
    return manifest.sha256_file(file) if file.is_file() else None


def withdraw(sidecar: Path) -> bool:
    """Remove a picture that a sheet asked for, with what lies beside it; whether nobody had touched them.

    Killed half-way, the sidecar is still there and the rest goes the next time.
    """
    content = _read(sidecar)
    if not content.get("sheet"):
        return False
    pictures = [f for s in SUFFIX.values() if (f := sidecar.with_suffix(s)).is_file()]
    there = [(f, content.get("sha256")) for f in pictures]
    there += [(f, d) for n, d in _products(content).items() if (f := sidecar.with_name(n)).is_file()]
    if not all(_is(file, digest) for file, digest in there):
        return False
    for file in (*(file for file, _ in there), sidecar):
        removal.remove_file(file, owner=sidecar.parent)
    return True


def _files(picture: Path, content: Mapping[str, object]) -> Iterator[tuple[Path, object]]:
    yield picture, content.get("sha256")
    for name, digest in _products(content).items():
        yield picture.with_name(name), digest


def _products(content: Mapping[str, object]) -> dict[str, str]:
    """Name -> sha256; names that would lead elsewhere are not ours."""
    raw = content.get(PRODUCTS)
    rows = cast(Mapping[str, object], raw) if isinstance(raw, dict) else {}
    return {name: str(digest) for name, digest in rows.items() if Path(name).name == name}


def _read(sidecar: Path) -> dict[str, object]:
    try:
        return strict_json.load_object(sidecar, "sidecar", file_names=True)
    except ArtifactError:
        return {}


def _is(file: Path, digest: object) -> bool:
    return file.is_file() and manifest.sha256_file(file) == digest


def encoded(
    canvas: Canvas,
    record: save.Record,
    source: Path,
    *,
    again: bytes | None = None,
    mark: Callable[[Canvas, save.Record], Image.Image] | None = None,
) -> bytes:
    """The bytes of the file: the sRGB profile, the mark of its source, watermark and credentials.

    `mark` lays the watermark (`marked` unless named) into what a model drew.

    A limit of bytes lowers the quality of JPEG and WebP as little as it needs.  `again`: the file that was
    made so before; its credentials are not made again, and only their room is left.  Raises `InputError` when
    the file cannot be as small as its delivery asks.
    """
    origin = _origin(canvas, record, source)
    is_drawn = origin.source == provenance.TRAINED
    if is_drawn and again is None:
        guard.require_picture(delivered(canvas), source.name)
    picture = (mark or marked)(canvas, record) if is_drawn else delivered(canvas)
    if canvas.delivery.max_bytes is None:
        return _encoded(picture, canvas.delivery, record, origin, canvas.delivery.quality, again is None)
    data = _encoded(picture, canvas.delivery, record, origin, canvas.delivery.quality, False)
    sealed = marks.seal(data, origin) if again is None else again
    room = _rounded_up(len(sealed) - len(bare.bare(sealed)) if again else len(sealed) - len(data))
    data = _fitting(picture, canvas.delivery, record, origin, data, canvas.delivery.max_bytes - room)
    return marks.seal(data, origin) if again is None else data


def _rounded_up(size: int) -> int:
    """Credentials of the same kind differ by a few bytes; what they are given must not."""
    return -(-size // 1024) * 1024


def _fitting(
    picture: Image.Image,
    delivery: Delivery,
    record: save.Record,
    origin: marks.Origin,
    data: bytes,
    most: int,
) -> bytes:
    """The file without credentials at the highest quality at which it has at most so many bytes."""
    if len(data) <= most:
        return data
    lossy = delivery.file_format in ("jpeg", "webp")
    low, high = _LEAST_QUALITY, delivery.quality if lossy else _LEAST_QUALITY
    fitting: bytes | None = None
    while low < high:
        middle = (low + high) // 2
        data = _encoded(picture, delivery, record, origin, middle, False)
        if len(data) <= most:
            low, fitting = middle + 1, data
        else:
            high = middle
    if fitting is not None:
        return fitting
    raise InputError(
        "the picture does not fit into the size that was asked for",
        got=f"{len(data)} bytes" + (f" at quality {_LEAST_QUALITY}" if lossy else ""),
        needed=f"{most} bytes, beside its credentials",
        remedy="Ask for fewer pixels." if lossy else "Ask for JPEG, or for fewer pixels.",
    )


def _origin(canvas: Canvas, record: save.Record, source: Path) -> marks.Origin:
    """The steps as they stand in the record, on the picture that was finished."""
    steps = cast(list[Mapping[str, object]], record.get("steps") or [])
    names = [next((k for k in entry if k not in OF_PASSING), "") for entry in steps]
    edits = marks.step_actions(names) or (f"c2pa.edited: {record.get(save.ACTION, 'finish')}",)
    kind = marks.source_of(source)
    if kind == provenance.TRAINED and record.get(MARK) != KEPT:
        edits = (*edits, marks.WATERMARKED)
    elif kind == provenance.TRAINED and not marks.is_watermarked(source):
        edits = (*edits, f"{marks.WATERMARKED}: that of the picture before, kept")
    return marks.Origin(kind, edits, source)


def delivered(canvas: Canvas) -> Image.Image:
    """The pixels that are delivered, without a watermark."""
    picture = Image.fromarray(to_bytes(canvas.rgb_HW3))
    if canvas.alpha_HW is not None and canvas.delivery.file_format != "jpeg":
        picture.putalpha(Image.fromarray(to_bytes(canvas.alpha_HW)))
    return picture


def marked(canvas: Canvas, record: save.Record) -> Image.Image:
    """The same with the watermark, which is the last thing that is done to them, unless it is there."""
    picture = delivered(canvas)
    if record.get(MARK) == KEPT:
        return picture
    return marks.marked_picture(picture, save.first_recipe(record), str(record.get(save.SETTLED, "")))


def with_mark(record: save.Record, canvas: Canvas, source: Path) -> save.Record:
    """The record, which says so where the pixels still carry the watermark of the picture before.

    A second mark over it would only be seen more.  It is written down because `reproduce` has to do the same.
    Beside a layered file, what the watermark settles on is written down too, for edits that come back.
    """
    if marks.source_of(source) != provenance.TRAINED:
        return record
    picture = delivered(canvas)
    if marks.holds_mark(picture, source):
        return record | {MARK: KEPT}
    if not any(one.name in LAYERED for one in canvas.products):
        return record
    settled = marks.settled(picture, save.first_recipe(record))
    return record | {save.SETTLED: settled} if settled else record


def mark_of(source: Path) -> bytes:
    """The XMP packet that says how the source came to be; empty for an unmarked one.

    The studio's own mark is bound to the bytes of its pictures: a finished one names this program.
    """
    kind = marks.source_of(source)
    return provenance.xmp_bytes(kind) if kind else b""


def _encoded(
    picture: Image.Image,
    delivery: Delivery,
    record: save.Record,
    origin: marks.Origin,
    quality: int,
    sealed: bool,
) -> bytes:
    options: dict[str, Any] = {"icc_profile": srgb.profile()}
    if delivery.dpi:
        options["dpi"] = (delivery.dpi, delivery.dpi)
    texts: dict[str, str] = {}
    if delivery.file_format == "png":
        texts[provenance.RECIPE_KEY] = json.dumps(record, sort_keys=True, ensure_ascii=False)
    elif delivery.file_format == "jpeg":
        options |= {"quality": quality, "subsampling": 0}
    elif delivery.file_format == "webp":
        options["quality"] = quality
    else:
        options["compression"] = "tiff_lzw"
    return marks.encode(picture, _KIND[delivery.file_format], origin, texts=texts, sealed=sealed, **options)
