"""Signed by default: made at first use, the same bytes again, edits chained, and never silently unsigned."""

from __future__ import annotations

import datetime as dt
import io
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError, ConfigError, InputError
from portrait_lora.rights import bare, credentials, identity, marks, policy
from portrait_lora.rights.marks import DRAWN, Origin
from tests.certificates import write_papers

KINDS = {"PNG": {}, "JPEG": {"quality": 90}, "WEBP": {"quality": 80}, "TIFF": {}, "AVIF": {"quality": 60}}


def noise(size: tuple[int, int] = (48, 40), mode: str = "RGB", seed: int = 3) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], bands), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if bands == 1 else pixels, mode)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account without certificate and policy."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(policy, "OF_MACHINE", tmp_path / "none.yaml")
    return tmp_path


def read(data: bytes) -> credentials.Credentials:
    kind = credentials.sniffed(data)
    assert kind is not None
    stated = credentials.read(data, kind, identity.known())
    assert stated is not None
    return stated


def test_the_certificate_is_made_at_first_use_for_its_owner_alone(home: Path) -> None:
    assert not identity.folder().exists()
    data = marks.encode(noise(), "PNG", DRAWN)
    modes = {
        p.name: stat.S_IMODE(p.stat().st_mode) for p in (identity.folder(), *identity.folder().iterdir())
    }
    assert modes["signing"] == 0o700 and modes[identity.KEY] == 0o600
    assert read(data).state == "trusted", "by this machine's own certificate"
    stranger = credentials.read(data, "PNG")
    assert stranger is not None and stranger.state == "valid", "and untrusted by everybody else"
    assert b"not verified" in data


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_picture_is_the_same_file_and_edits_chain(kind: credentials.Format) -> None:
    options = KINDS[kind]
    plain = marks.encode(noise(), kind, DRAWN, sealed=False, **options)
    first = marks.seal(plain, DRAWN)
    assert first == marks.seal(plain, DRAWN)
    edit = Origin(provenance.TRAINED, ("c2pa.edited: fix",), first)
    second = marks.encode(noise(seed=4), kind, edit, **options)
    third = marks.encode(
        noise(seed=4), kind, Origin(provenance.TRAINED, ("c2pa.published",), second), **options
    )
    assert second == marks.encode(noise(seed=4), kind, edit, **options)
    stated = read(third)
    assert stated.state == "trusted" and stated.problems == ()
    assert stated.actions == ("c2pa.created", "c2pa.opened", "c2pa.edited", "c2pa.opened", "c2pa.published")
    assert len(stated.before) == 2 and stated.digital_source_type == provenance.TRAINED
    if kind in ("PNG", "JPEG", "WEBP"):
        assert bare.bare(first) == plain
    assert bare.same(first, plain)
    assert not bare.same(first, second)


def test_texts_stand_in_the_order_in_which_they_came_in_every_process() -> None:
    texts = {f"text {number}": "words" for number in (3, 1, 5, 2, 4)}
    data = marks.encode(noise(), "PNG", DRAWN, texts=texts)
    places = [data.index(f"{key}\0".encode()) for key in (provenance.XMP_KEY, *texts)]
    assert places == sorted(places), "a set has another order in every process"


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_byte_of_the_picture_is_found(kind: credentials.Format) -> None:
    data = marks.encode(noise(), kind, DRAWN, **KINDS[kind])
    start = {"PNG": b"IDAT", "JPEG": b"\xff\xda", "WEBP": b"VP8 ", "AVIF": b"mdat", "TIFF": b"II*\0"}[kind]
    begin = data.rindex(start) + 40
    length = 300 if kind != "TIFF" else 2000
    for place in range(begin, begin + length, length // 10):
        changed = bytearray(data)
        changed[place] ^= 1
        stated = credentials.read(bytes(changed), kind)
        assert stated is not None and stated.state == "invalid", place


def test_credentials_that_come_in_are_kept(tmp_path: Path) -> None:
    papers = write_papers(tmp_path)
    from portrait_lora.rights.signer import load_signer

    plain = marks.encode(noise(), "JPEG", DRAWN, sealed=False, quality=90)
    foreign = credentials.sign(plain, "JPEG", load_signer(papers.chain, papers.key), title="theirs")
    edited = marks.encode(noise(seed=5), "PNG", Origin(provenance.TRAINED, ("c2pa.edited: grade",), foreign))
    stated = read(edited)
    assert stated.state == "trusted" and "Anna's studio" in stated.before[0]
    photograph = marks.encode(noise(seed=5), "PNG", Origin(None, ("c2pa.edited: grade",), foreign))
    assert read(photograph).before == stated.before, "a photograph's as well"


def test_a_photograph_says_nothing_that_is_not_so() -> None:
    assert not credentials.carries(marks.encode(noise(), "PNG", Origin(None)))
    plain = io.BytesIO()
    noise().save(plain, "PNG")
    edited = marks.encode(noise(), "PNG", Origin(None, ("c2pa.edited: grade",), plain.getvalue()))
    assert not credentials.carries(edited)


@pytest.mark.parametrize("fault", ("flipped", "cut", "zeroed", "another picture"))
def test_broken_credentials_of_a_source_are_noted_not_copied_as_good(fault: str) -> None:
    source = marks.encode(noise(), "PNG", DRAWN)
    at, data = source.index(b"jumdc2pa"), bytearray(source)
    if fault == "flipped":
        data[at + 300] ^= 0xFF
    elif fault == "cut":
        del data[at + 200 : at + 400]
    elif fault == "zeroed":
        data[at + 40 : at + 540] = bytes(500)
    else:
        data[data.rindex(b"IDAT") + 60] ^= 1
    edited = marks.encode(noise(seed=6), "PNG", Origin(provenance.TRAINED, ("c2pa.edited",), bytes(data)))
    stated = read(edited)
    assert stated.state == "trusted" and stated.actions[-2:] == ("c2pa.opened", "c2pa.edited")
    assert credentials.read(bytes(data), "PNG").state == "invalid"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (noise((16, 16)), "PNG"),
        (noise((1, 1)), "JPEG"),
        (noise(mode="RGBA"), "PNG"),
        (noise(mode="RGBA"), "WEBP"),
        (noise(mode="L"), "JPEG"),
        (noise(mode="CMYK"), "JPEG"),
        (noise(mode="CMYK"), "TIFF"),
    ],
)
def test_odd_pictures_are_signed_too(picture: Image.Image, kind: credentials.Format) -> None:
    data = marks.encode(picture, kind, DRAWN)
    assert read(data).state == "trusted"
    with Image.open(io.BytesIO(data)) as again:
        assert again.size == picture.size and again.mode == picture.mode


@pytest.mark.parametrize("kind", ("WEBP", "PNG"))
def test_animated_pictures_are_signed_whole(kind: credentials.Format) -> None:
    frames = [noise(seed=i) for i in range(3)]
    data = marks.encode(frames[0], kind, DRAWN, save_all=True, append_images=frames[1:])
    assert read(data).state == "trusted"
    with Image.open(io.BytesIO(data)) as again:
        assert getattr(again, "n_frames", 1) == 3


def test_what_cannot_be_signed_is_refused() -> None:
    buffer = io.BytesIO()
    noise().save(buffer, "BMP")
    with pytest.raises(ArtifactError, match="cannot hold credentials"):
        marks.seal(buffer.getvalue(), DRAWN)


@pytest.mark.parametrize("mode", (0o640, 0o604, 0o660))
def test_a_key_that_others_may_read_is_refused(home: Path, mode: int) -> None:
    identity.make()
    (identity.folder() / identity.KEY).chmod(mode)
    with pytest.raises(InputError, match=r"others may read the private key.*chmod 600") as caught:
        marks.encode(noise(), "PNG", DRAWN)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("lost", (identity.KEY, identity.CERTIFICATE))
def test_half_a_certificate_is_said_and_renewed_on_demand(home: Path, lost: str) -> None:
    before = marks.encode(noise(), "PNG", DRAWN)
    (identity.folder() / lost).unlink()
    with pytest.raises(InputError, match=r"half of the local certificate is lost.*--new-certificate"):
        marks.encode(noise(), "PNG", DRAWN)
    identity.make(anew=True)
    assert read(marks.encode(noise(), "PNG", DRAWN)).state == "trusted"
    assert read(before).state == ("trusted" if lost == identity.KEY else "valid"), (
        "what was retired stays known"
    )


@pytest.mark.parametrize(
    ("years", "message"), ((11, "has expired"), (-1, "is not valid yet")), ids=("expired", "wrong clock")
)
def test_outside_its_time_nothing_is_signed(
    home: Path, monkeypatch: pytest.MonkeyPatch, years: int, message: str
) -> None:
    identity.make()

    marks.encode(noise(), "PNG", DRAWN)
    then = dt.datetime.now(dt.UTC) + dt.timedelta(days=365 * years)
    monkeypatch.setattr(identity, "clock", lambda: then)
    with pytest.raises(InputError, match=rf"{message}.*the clock here says.*not written unsigned"):
        marks.encode(noise(), "PNG", DRAWN)


def test_a_real_certificate_by_the_policy(home: Path) -> None:
    papers = write_papers(home / "papers")
    place = policy.place()
    place.parent.mkdir(parents=True)
    place.write_text(f"signing:\n  certificate: {papers.chain}\n  key: {papers.key}\n")
    papers.key.chmod(0o644)
    with pytest.raises(InputError, match="others may read"):
        marks.encode(noise(), "PNG", DRAWN)
    papers.key.chmod(0o600)
    data = marks.encode(noise(), "PNG", DRAWN)
    assert read(data).signer == "Anna's studio, Example studio"
    assert data == marks.encode(noise(), "PNG", DRAWN), "ECDSA too"
    assert not identity.folder().exists()
    place.write_text(f"signing:\n  certificate: {papers.chain}\n")
    with pytest.raises(ConfigError, match="half of a signer"):
        marks.encode(noise(), "PNG", DRAWN)
    place.write_text("singing: {}\n")
    with pytest.raises(ConfigError, match="policy is wrong"):
        marks.encode(noise(), "PNG", DRAWN)


def test_without_a_time_stamp_authority_it_is_signed_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = policy.place()
    place.parent.mkdir(parents=True)
    place.write_text("signing:\n  timestamp: http://127.0.0.1:9/\n")
    lines: list[str] = []
    monkeypatch.setattr(marks, "_warn", lines.append)
    stated = read(marks.encode(noise(), "PNG", DRAWN))
    assert stated.state == "trusted" and stated.signed_at is None
    assert len(lines) == 1 and "no time stamp" in lines[0]
