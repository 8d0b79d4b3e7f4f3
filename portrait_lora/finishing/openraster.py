"""OpenRaster files (https://www.openraster.org, version 0.0.6): a zip of PNG layers and `stack.xml`.

Krita, GIMP, MyPaint and Scribus open them.  Everything read is untrusted: sizes, counts and names are limited
before anything is decoded, and XML entities are refused.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from portrait_lora import manifest, strict_json
from portrait_lora.errors import InputError
from portrait_lora.finishing.canvas import MAX_PIXELS
from portrait_lora.finishing.layered import Layer, RGBAImage, Stack, refuse_many
from portrait_lora.rights import marks

MIMETYPE: Final = b"image/openraster"
RECORD: Final = "portrait_lora.json"
KIND: Final = "portrait-lora-kind"
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MAX_FILE: Final = 1 << 30
_MAX_XML: Final = 1 << 20
_THUMBNAIL_PX: Final = 256
_NORMAL: Final = ("svg:src-over", "")


def encoded(stack: Stack, record: Mapping[str, object], mark: bytes = b"") -> bytes:
    """The file, the same bytes for the same stack and record; merged picture and thumbnail are marked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "mimetype", MIMETYPE)
        lines = []
        for number, layer in reversed(list(enumerate(stack.layers))):  # stack.xml lists the topmost first
            name = f"data/{number:03d}.png"
            _add(archive, name, _png(layer.pixels))
            shown = "visible" if layer.visible else "hidden"
            lines.append(
                f'  <layer name={quoteattr(layer.name)} src="{name}" x="0" y="0" opacity="{layer.opacity:g}" '
                f'visibility="{shown}" composite-op="svg:src-over" {KIND}="{layer.kind}"/>'
            )
        width, height = stack.size_px
        head = f'<?xml version="1.0" encoding="UTF-8"?>\n<image version="0.0.6" w="{width}" h="{height}">'
        _add(archive, "stack.xml", "\n".join([head, " <stack>", *lines, " </stack>", "</image>"]).encode())
        flat = stack.flat()
        small = Image.fromarray(flat)
        small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        _add(archive, "mergedimage.png", _png(flat, mark))
        _add(archive, "Thumbnails/thumbnail.png", _png(np.asarray(small), mark))
        _add(archive, RECORD, manifest.canonical(dict(record)).encode())
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _TIME), data)  # stored: the PNGs are packed already


def _png(pixels: np.ndarray, mark: bytes = b"") -> bytes:
    return marks.encode(Image.fromarray(pixels), "PNG", marks.Origin(marks.of_packet(mark)))


def read(path: Path) -> tuple[Stack, Mapping[str, object]]:
    """The layers of a file, and the record in it (empty without one).

    Raises `InputError` for a file that is none, is too large, or uses what only its own program can blend.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(one.file_size for one in archive.infolist()) > _MAX_FILE:
                raise _wrong(path, "more than a gigabyte")
            if archive.read("mimetype").strip() != MIMETYPE:
                raise _wrong(path, "another mimetype")
            stack = _stack(archive, path)
            raw = archive.read(RECORD).decode() if RECORD in archive.namelist() else "{}"
    except (
        OSError,
        zipfile.BadZipFile,
        KeyError,
        UnicodeDecodeError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise _wrong(path, error) from error
    return stack, strict_json.parse_object(raw, path, "record of the layers", max_bytes=_MAX_XML * 8)


def _wrong(path: Path, got: object) -> InputError:
    return InputError("not an OpenRaster file", where=path, got=got, needed="a .ora file")


def _stack(archive: zipfile.ZipFile, path: Path) -> Stack:
    info = archive.getinfo("stack.xml")
    if info.file_size > _MAX_XML:
        raise _wrong(path, "a stack.xml of more than a megabyte")
    text = archive.read(info)
    if b"<!" in text.replace(b"<!--", b""):
        raise _wrong(path, "a stack.xml with a document type")
    try:
        image = ElementTree.fromstring(text)
        width, height = int(image.attrib["w"]), int(image.attrib["h"])
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise _wrong(path, error) from error
    if not 0 < width * height <= MAX_PIXELS:
        raise _wrong(path, f"{width} x {height} px")
    nodes = list(image.iter("layer"))
    refuse_many(len(nodes), path)
    layers = [_layer(archive, node, (width, height), path) for node in reversed(nodes)]
    return Stack((width, height), tuple(layers))


def _layer(archive: zipfile.ZipFile, node: ElementTree.Element, size: tuple[int, int], path: Path) -> Layer:
    values = node.attrib
    name = values.get("name", "layer")
    if values.get("composite-op", "") not in _NORMAL:
        raise InputError(
            "a layer is blended in a way that this program does not repeat",
            where=path,
            got=f"{name}: {values['composite-op']}",
            needed="normal layers",
            remedy="Merge it with the layer below it and save again.",
        )
    try:
        left, top, opacity = int(values.get("x", 0)), int(values.get("y", 0)), float(values.get("opacity", 1))
        with Image.open(io.BytesIO(archive.read(values["src"])), formats=["PNG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise _wrong(path, f"{name}: {picture.size}")
            pixels = np.asarray(picture.convert("RGBA"))
    except (KeyError, ValueError, OSError, SyntaxError) as error:
        raise _wrong(path, f"{name}: {error}") from error
    if not 0.0 <= opacity <= 1.0:
        raise _wrong(path, f"{name}: opacity {opacity}")
    visible = values.get("visibility", "visible") == "visible"
    return Layer(name, _placed(pixels, (left, top), size), values.get(KIND, ""), visible, opacity)


def _placed(pixels: RGBAImage, corner: tuple[int, int], size: tuple[int, int]) -> RGBAImage:
    """Pixels at their place in the picture; what lies outside is cut."""
    (left, top), (width, height) = corner, size
    out = np.zeros((height, width, 4), np.uint8)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + pixels.shape[1], width), min(top + pixels.shape[0], height)
    if x1 > x0 and y1 > y0:
        out[y0:y1, x0:x1] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    return out
