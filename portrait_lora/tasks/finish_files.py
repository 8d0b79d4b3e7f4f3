"""The files of a finished picture: encoded for delivery, placed beside earlier ones, with a sidecar."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Final, cast

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from portrait_lora import manifest, provenance
from portrait_lora.errors import InputError
from portrait_lora.finishing.canvas import Canvas, Delivery, Product, to_bytes
from portrait_lora.generation import save
from portrait_lora.pictures import srgb

SUFFIX: Final = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
_LEAST_QUALITY: Final = 40


def place(path: Path, data: bytes, canvas: Canvas) -> Path:
    """The path, or the first numbered one beside it that is free or holds just these bytes.

    A file of a finish that was killed is gone on with; a layered file that was edited since is left alone.
    """
    number, free = 2, path
    while not _is_ours(free, data, canvas):
        free, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return free


def _is_ours(path: Path, data: bytes, canvas: Canvas) -> bool:
    files = {path: data} | {_beside(path, one): one.data for one in canvas.products}
    same = all(not file.exists() or file.read_bytes() == content for file, content in files.items())
    return same and (path.exists() or not save.sidecar_of(path).exists())


def _beside(path: Path, product: Product) -> Path:
    return path.with_name(f"{path.stem}{product.name}")


def write(canvas: Canvas, path: Path, record: save.Record, source: Path, data: bytes) -> None:
    """The file (`data`, see `encoded`), further products beside it, then a sidecar."""
    manifest.make_folder(path.parent)
    manifest.write_bytes_atomic(path, data)
    for product in canvas.products:
        manifest.write_bytes_atomic(_beside(path, product), product.data)
    sidecar = {
        "recipe": record,
        "sha256": manifest.sha256_file(path),
        "digital_source_type": provenance.source_type(source),
        "versions": save.versions(),
        "history": save.history(record),
    }
    manifest.write_json_atomic(save.sidecar_of(path), sidecar)


def encoded(canvas: Canvas, record: save.Record, source: Path) -> bytes:
    """The bytes of the file, with the sRGB profile and the mark of its source.

    A limit of bytes lowers the quality of JPEG and WebP as little as it needs.  Raises `InputError` when the
    file cannot be as small as its delivery asks.
    """
    delivery = canvas.delivery
    picture = Image.fromarray(to_bytes(canvas.rgb_HW3))
    if canvas.alpha_HW is not None and delivery.file_format != "jpeg":
        picture.putalpha(Image.fromarray(to_bytes(canvas.alpha_HW)))
    mark, most = mark_of(source), delivery.max_bytes
    data = _encoded(picture, delivery, record, mark, delivery.quality)
    if most is None or len(data) <= most:
        return data
    lossy = delivery.file_format in ("jpeg", "webp")
    low, high = _LEAST_QUALITY, delivery.quality if lossy else _LEAST_QUALITY
    fitting: bytes | None = None
    while low < high:
        middle = (low + high) // 2
        data = _encoded(picture, delivery, record, mark, middle)
        if len(data) <= most:
            low, fitting = middle + 1, data
        else:
            high = middle
    if fitting is not None:
        return fitting
    raise InputError(
        "the picture does not fit into the size that was asked for",
        got=f"{len(data)} bytes" + (f" at quality {_LEAST_QUALITY}" if lossy else ""),
        needed=f"{most} bytes",
        remedy="Ask for fewer pixels." if lossy else "Ask for JPEG, or for fewer pixels.",
    )


def mark_of(source: Path) -> bytes:
    """The XMP packet that says how the source came to be; empty for an unmarked one.

    The studio's own mark is bound to the bytes of its pictures: a finished one names this program.
    """
    kind = provenance.source_type(source)
    for known in (provenance.TRAINED, provenance.ALGORITHMIC):
        if kind == known:
            return provenance.xmp_bytes(cast(provenance.SourceType, known))
    return b""


def _encoded(
    picture: Image.Image, delivery: Delivery, record: save.Record, mark: bytes, quality: int
) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"icc_profile": srgb.profile()}
    if delivery.dpi:
        options["dpi"] = (delivery.dpi, delivery.dpi)
    if delivery.file_format == "png":
        info = PngInfo()
        if mark:
            info.add_itxt(provenance.XMP_KEY, mark.decode())
        info.add_itxt(provenance.RECIPE_KEY, json.dumps(record, sort_keys=True, ensure_ascii=False))
        picture.save(buffer, "PNG", pnginfo=info, **options)
    elif delivery.file_format == "jpeg":
        picture.save(buffer, "JPEG", quality=quality, subsampling=0, xmp=mark, **options)
    elif delivery.file_format == "webp":
        picture.save(buffer, "WEBP", quality=quality, xmp=mark, **options)
    else:
        if mark:
            options["tiffinfo"] = provenance.tiff_tags(mark)
        picture.save(buffer, "TIFF", compression="tiff_lzw", **options)
    return buffer.getvalue()
