"""What made a picture: the recipe inside the PNG, and the XMP mark that it was not photographed.

`Iptc4xmpExt:DigitalSourceType` says how a picture came to be (IPTC Photo Metadata Standard 2023.2, code
list http://cv.iptc.org/newscodes/digitalsourcetype/).  Portraits are `trainedAlgorithmicMedia`; renders
of the synthetic studio are `algorithmicMedia` and name the studio, so that they can be told from photos.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, cast
from xml.sax.saxutils import escape

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from portrait_lora import recipe_limits, strict_json
from portrait_lora.errors import ArtifactError

SourceType = Literal["trainedAlgorithmicMedia", "algorithmicMedia"]
TRAINED: Final = "trainedAlgorithmicMedia"
ALGORITHMIC: Final = "algorithmicMedia"
CREATOR: Final = "portrait_lora"
STUDIO: Final = "portrait_lora synthetic studio"
RECIPE_KEY: Final = "portrait_lora"
XMP_KEY: Final = "XML:com.adobe.xmp"
VOCABULARY: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SOURCE: Final = re.compile(r"DigitalSourceType\s{0,20}(?:>|=\s{0,20}[\"'])([^<>\"']{0,300})")
_KIND: Final = re.compile(r"digitalsourcetype/(\w{1,80})")
_TOOL: Final = re.compile(r"CreatorTool\s{0,20}(?:=\s{0,20}[\"']|>)([^<\"']{1,300})")
"""Every run has a bound: a packet of nothing but spaces costs no more than its length."""
_MAX_PACKET: Final = 1_000_000
_MAX_RECIPE_BYTES: Final = 8 * 1024 * 1024


def xmp_packet(source: SourceType = TRAINED, *, creator_tool: str = CREATOR) -> str:
    """The XMP packet that carries the mark; the same bytes for the same arguments."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about=""\n'
        '    xmlns:xmp="http://ns.adobe.com/xap/1.0/"\n'
        '    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">\n'
        f"   <xmp:CreatorTool>{escape(creator_tool)}</xmp:CreatorTool>\n"
        f"   <Iptc4xmpExt:DigitalSourceType>{VOCABULARY}{source}</Iptc4xmpExt:DigitalSourceType>\n"
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    )


def png_info(recipe: object | None, source: SourceType = TRAINED, *, creator_tool: str = CREATOR) -> PngInfo:
    """Text chunks for `Image.save(..., pnginfo=…)`: the XMP mark and, unless None, the recipe as JSON."""
    info = PngInfo()
    info.add_itxt(XMP_KEY, xmp_packet(source, creator_tool=creator_tool))
    if recipe is not None:
        info.add_itxt(RECIPE_KEY, json.dumps(recipe, sort_keys=True, ensure_ascii=False))
    return info


def xmp_bytes(source: SourceType, *, creator_tool: str = CREATOR) -> bytes:
    """For `Image.save(..., xmp=…)` of a JPEG or WebP."""
    return xmp_packet(source, creator_tool=creator_tool).encode()


def _texts(path: Path) -> Mapping[object, object]:
    """What a picture carries beside its pixels, as Pillow sees it before it decodes any.

    Raises `ArtifactError` for a file that Pillow cannot open, for whatever reason: its parsers answer damaged
    bytes with nearly every exception there is.
    """
    try:
        with Image.open(path) as picture:
            return cast(Mapping[object, object], dict(picture.info))
    except Exception as error:
        raise ArtifactError("the picture cannot be read", where=path, got=str(error)[:200]) from error


def inherited(path: Path) -> bytes:
    """The mark for a copy of a picture, such as a thumbnail: its own, or empty where it has none."""
    found = source_type(path)
    for source in (TRAINED, ALGORITHMIC):
        if found == source:
            studio = is_studio_picture(path)
            return xmp_bytes(cast(SourceType, source), creator_tool=STUDIO if studio else CREATOR)
    return b""


def _packet(path: Path) -> str:
    try:
        info = _texts(path)
    except ArtifactError:
        return ""
    found = info.get("xmp") or info.get(XMP_KEY) or b""
    text = found[:_MAX_PACKET].decode(errors="replace") if isinstance(found, bytes) else str(found)
    return text[:_MAX_PACKET]


def _source(packet: str) -> str | None:
    return next((kind[1] for one in _SOURCE.finditer(packet) if (kind := _KIND.search(one[1]))), None)


def source_type(path: Path) -> str | None:
    """The picture's digital source type (`trainedAlgorithmicMedia`, …); None when it carries none."""
    return _source(_packet(path))


def is_studio_picture(path: Path) -> bool:
    """Whether the picture says that the synthetic studio rendered it; anything else counts as real."""
    packet = _packet(path)
    tool = _TOOL.search(packet)
    return bool(_source(packet) == ALGORITHMIC and tool and tool[1].strip() == STUDIO)


def is_unmarked_picture(path: Path) -> bool:
    """Whether this is a picture that the studio did not render: it counts as a real photograph."""
    try:
        with Image.open(path):
            pass
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return not is_studio_picture(path)


def read_recipe(path: Path) -> dict[str, object]:
    """The recipe in a PNG of ours.  Raises `ArtifactError` when there is none, or none that could be ours."""
    text = _texts(path).get(RECIPE_KEY)
    if not isinstance(text, str):
        raise ArtifactError(
            "the picture carries no recipe", where=path, needed="a PNG made by this program, unedited"
        )
    recipe = strict_json.parse_object(text, path, "recipe of the picture", max_bytes=_MAX_RECIPE_BYTES)
    recipe_limits.refuse(recipe, path)
    return recipe
