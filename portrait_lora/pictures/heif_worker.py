"""Decodes one HEIC picture from stdin to stdout; run as a program of its own.

The wheels of pillow-heif bundle libheif and libde265 (LGPL) and x265 (GPL-2.0): they are loaded in this
process only, which shares nothing with the rest but two pipes.  Answer: one line of JSON (size, mode,
orientation, time of exposure, bytes of the colour profile), the profile, the pixels.
"""

import io
import json
import sys

MEMORY_BYTES = 6_000_000_000
CPU_SECONDS = 60
EXIT_NOT_INSTALLED = 3
EXIT_TOO_MANY_PIXELS = 4
ORIENTATION_TAG = 0x0112
EXIF_IFD = 0x8769
TIME_TAGS = (0x9003, 0x9291)  # DateTimeOriginal, SubSecTimeOriginal


def limit() -> None:
    """Limit this process's memory: a crafted file may kill it, but not exhaust the machine."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_SECONDS)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def times_of(exif) -> list[str]:
    """The values of `TIME_TAGS`, as text; empty where the EXIF block does not state them."""
    try:
        block = exif.get_ifd(EXIF_IFD)
    except Exception:  # a damaged block says nothing about the pixels
        block = {}
    return [str(block.get(tag, ""))[:40] for tag in TIME_TAGS]


def main(max_pixels: int) -> int:
    """Exit status: 0, or one of the two above; anything else means a file that cannot be decoded."""
    try:
        import pillow_heif
        from PIL import Image
    except ImportError:
        return EXIT_NOT_INSTALLED
    limit()
    pillow_heif.register_heif_opener(thumbnails=False)
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=("HEIF",)) as image:
        if image.size[0] * image.size[1] > max_pixels:
            return EXIT_TOO_MANY_PIXELS
        image.load()
        profile = image.info.get("icc_profile") or b""
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        head = {
            "size": image.size,
            "mode": image.mode,
            "orientation": orientation if isinstance(orientation, int) else 1,
            "times": times_of(image.getexif()),
            "profile": len(profile),
        }
        for part in (json.dumps(head).encode() + b"\n", profile, image.tobytes()):
            sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
