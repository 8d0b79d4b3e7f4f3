"""A signed picture looks the same, says who signed it, and shows any later change."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import __version__, provenance
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.rights import credentials
from portrait_lora.rights.signer import Signer, load_signer
from tests.certificates import Papers, write_papers


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return write_papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def signer(papers: Papers) -> Signer:
    return load_signer(papers.chain, papers.key)


def picture(kind: str) -> bytes:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 56, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    if kind == "PNG":
        noise.save(buffer, kind, pnginfo=provenance.png_info({"prompt": "secret words", "seed": 4}))
    else:
        noise.save(buffer, kind, xmp=provenance.xmp_bytes(provenance.TRAINED))
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("kind", ("PNG", "JPEG", "WEBP"))
def test_signed_read_and_unchanged_to_the_eye(
    kind: credentials.Format, signer: Signer, papers: Papers, tmp_path: Path
) -> None:
    before = picture(kind)
    assert not credentials.carries(before) and credentials.read(before, kind) is None
    after = credentials.sign(before, kind, signer)
    assert (pixels(before) == pixels(after)).all()
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(after)
    assert provenance.source_type(file) == "trainedAlgorithmicMedia"
    if kind == "PNG":
        assert provenance.read_record(file) == {"prompt": "secret words", "seed": 4}
    manifest = credentials.read(after, kind)
    assert (
        manifest is not None
        and manifest.state == "valid"
        and not manifest.altered
        and manifest.problems == ()
    )
    assert manifest.signer == "Anna's studio, Example studio"
    assert (manifest.algorithm, manifest.generator) == ("es256", f"portrait_lora {__version__}")
    assert manifest.digital_source_type == "trainedAlgorithmicMedia" and manifest.signed_at is None
    trusted = credentials.read(after, kind, papers.authority.read_bytes())
    assert trusted is not None and trusted.state == "trusted"


@pytest.mark.parametrize("kind", ("PNG", "JPEG", "WEBP"))
def test_one_changed_pixel_byte_shows(kind: credentials.Format, signer: Signer) -> None:
    data = bytearray(credentials.sign(picture(kind), kind, signer))
    start = {"PNG": b"IDAT", "JPEG": b"\xff\xda", "WEBP": b"VP8 "}[kind]
    place = data.rindex(start) + 200
    data[place] ^= 1
    manifest = credentials.read(bytes(data), kind)
    assert manifest is not None and manifest.state == "invalid" and manifest.altered
    assert "assertion.dataHash.mismatch" in manifest.problems


def test_a_changed_statement_shows(signer: Signer) -> None:
    data = credentials.sign(picture("PNG"), "PNG", signer)
    forged = data.replace(b"trainedAlgorithmicMedia", b"digitalCaptureXXXXXXXXX")
    assert forged.count(b"digitalCaptureXXXXXXXXX") == 2 and len(forged) == len(data), "XMP and statement"
    manifest = credentials.read(forged, "PNG")
    assert manifest is not None and manifest.state == "invalid" and manifest.altered


def test_a_stranger_is_not_trusted(signer: Signer, tmp_path: Path) -> None:
    data = credentials.sign(picture("PNG"), "PNG", signer)
    stranger = write_papers(tmp_path).authority.read_bytes()
    manifest = credentials.read(data, "PNG", stranger)
    assert manifest is not None and manifest.state == "valid"
    assert manifest.problems == ("signingCredential.untrusted",)


def test_nothing_personal_is_added(signer: Signer) -> None:
    before = picture("PNG")
    added = credentials.sign(before, "PNG", signer)
    for word in (b"secret words", b"/tmp", b"/home", b"thumbnail"):
        assert added.count(word) == before.count(word)
    plain = credentials.sign(picture("JPEG"), "JPEG", signer)
    titled = credentials.sign(picture("JPEG"), "JPEG", signer, title="On the roof")
    assert b"On the roof" in titled and b"On the roof" not in plain
    assert b"algorithmicMedia" in credentials.sign(before, "PNG", signer, provenance.ALGORITHMIC)


def test_a_signed_picture_is_not_signed_again(signer: Signer) -> None:
    with pytest.raises(InputError, match="signed already"):
        credentials.sign(credentials.sign(picture("PNG"), "PNG", signer), "PNG", signer)


def test_an_authority_that_does_not_answer(signer: Signer) -> None:
    with pytest.raises(PortraitError, match="no time stamp") as caught:
        credentials.sign(picture("PNG"), "PNG", signer, timestamp_authority="http://127.0.0.1:9/")
    assert not isinstance(caught.value, InputError)


def test_what_the_library_refuses_is_reported(papers: Papers, signer: Signer) -> None:
    wrong = Signer(signer.chain_pem, papers.key.read_bytes(), "es384", signer.subject)
    with pytest.raises(InputError, match="cannot sign content credentials") as caught:
        credentials.sign(picture("PNG"), "PNG", wrong)
    assert "PRIVATE" not in str(caught.value)


def test_damaged_credentials_are_reported_not_raised(signer: Signer) -> None:
    data = credentials.sign(picture("PNG"), "PNG", signer)
    manifest = credentials.read(data[:-30], "PNG")
    assert manifest is not None and manifest.state == "invalid" and manifest.problems
