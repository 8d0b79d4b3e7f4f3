"""Recognition of picture files, by their first bytes, then by their names.

Every file that could be a photo is listed, so that a picture which cannot be decoded is reported and never
skipped silently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

Kind = Literal["JPEG", "PNG", "WEBP", "HEIC", "AVIF"]
HEAD_BYTES: Final = 512
_PICTURES: Final = (
    ".jpg .jpeg .jpe .jfif .jif .png .apng .webp .heic .heif .heics .heifs .hif .avif .avifs .jxl .gif .tif"
    " .tiff .bmp .dib .jp2 .j2k .jpf .jpx .jpm .dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .raf .rw2 .orf"
    " .pef .srw .3fr .iiq .x3f .raw .tga .psd .insp .mpo .jps .qoi .jng .pnm .ppm .pgm .pbm .exr"
)
_OTHERS: Final = (
    ".txt .caption .json .jsonl .csv .tsv .yaml .yml .toml .xml .xmp .md .rst .html .htm .pdf .doc .docx .odt"
    " .xls .xlsx .rtf .log .aae .thm .ini .db .lnk .url .py .sh .bat .npz .npy .pt .safetensors .parquet"
    " .mov .mp4 .m4v .avi .mkv .webm .3gp .mpg .mpeg .mts .insv .lrv .mp3 .m4a .wav .aac .ogg .flac"
    " .zip .7z .rar .tar .gz .bz2 .xz .exe .dll .svg .part .tmp .crdownload .bak .lock .sha256"
)
PICTURE_SUFFIXES: Final = frozenset(_PICTURES.split())
_OTHER_SUFFIXES: Final = frozenset(_OTHERS.split())
_HEIC: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AVIF: Final = frozenset((b"avif", b"avis", b"avio"))
_HEIF: Final = frozenset((b"mif1", b"msf1", b"heif", b"mif2", b"miaf", b"MiHB", b"MiHE"))
_UNSUPPORTED: Final = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF or camera raw"),
    (b"MM\0*", "TIFF or camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"FOVb", "camera raw"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"qoif", "QOI"),
)


def brands(data: bytes) -> tuple[bytes, ...]:
    """Major and compatible brands of an ISO base media file (ISO/IEC 14496-12); empty for any other file."""
    if data[4:8] != b"ftyp":
        return ()
    size = min(int.from_bytes(data[:4], "big"), HEAD_BYTES, len(data))
    return (data[8:12], *(data[i : i + 4] for i in range(16, size - 3, 4)))


def kind_of(head: bytes) -> Kind | None:
    """The format of a file that can be decoded, else None; `head` are its first `HEAD_BYTES` bytes."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    declared = brands(head)
    if declared and declared[0] in _HEIC | _AVIF | _HEIF:
        return "AVIF" if _AVIF.intersection(declared) and not _HEIC.intersection(declared) else "HEIC"
    return None


def unsupported(head: bytes) -> str | None:
    """The name of a picture format that is recognised by its first bytes but not supported."""
    if b"crx " in brands(head)[:1]:
        return "camera raw"
    return next((name for magic, name in _UNSUPPORTED if head.startswith(magic)), None)


def could_be_photo(path: Path) -> bool:
    """Whether a file is a picture by its content or name, or is not recognised as anything else.

    A symbolic link is judged by its name alone, so that nothing outside the folder is opened.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return True
    if path.is_symlink():
        return suffix not in _OTHER_SUFFIXES
    head = _head(path)
    if head is None:
        return suffix not in _OTHER_SUFFIXES
    if kind_of(head) is not None:
        return True
    return suffix not in _OTHER_SUFFIXES and not is_text(head)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name or its first bytes; unrecognised files are not."""
    return path.suffix.lower() in PICTURE_SUFFIXES or kind_of(_head(path) or b"") is not None


def _head(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return None


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file read as text; an empty file does."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return all(c.isprintable() or c in "\t\r\n\f\ufeff" for c in text)
