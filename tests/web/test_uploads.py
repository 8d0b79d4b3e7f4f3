"""Forms with files: streamed to the disk within limits, names cleaned, nothing left behind."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
from starlette.requests import Request

from portrait_lora.errors import PortraitError
from portrait_lora.web import uploads
from portrait_lora.web.problems import Refused, TooLarge, WrongKind, status_of

KIND = "multipart/form-data; boundary=x"


def part(name: str, data: bytes, file: str | None = None, more: str = "") -> bytes:
    filename = "" if file is None else f'; filename="{file}"'
    return (
        f'--x\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n{more}\r\n'.encode()
        + data
        + b"\r\n"
    )


def receive(
    folder: Path,
    chunks: Iterable[bytes],
    kind: str = KIND,
    check: Callable[[uploads.Form], object] = repr,
    **limits: int,
) -> uploads.Form:
    """The form of a request whose body comes in these chunks; `check` sees it with its files."""
    waiting = list(chunks)

    async def body() -> dict[str, object]:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def run() -> uploads.Form:
        request = Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, body)
        async with uploads.received(
            request, folder, most_files=limits.pop("most_files", 3), **limits
        ) as form:
            check(form)
        return form

    return asyncio.run(run())


END = b"--x--\r\n"


def test_files_and_fields_arrive_whole_in_any_chunks(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    body = part("csrf", b"abc") + part("photos", data, "a.jpg") + part("photos", b"", "b.jpg") + END

    def check(form: uploads.Form) -> None:
        assert [one.name for one in form.files] == ["a.jpg", "b.jpg"]
        assert form.files[0].path.read_bytes() == data and form.files[1].size == 0
        assert form.files[0].path.is_relative_to(tmp_path)

    for size in (1000, len(body)):
        form = receive(tmp_path, [body[i : i + size] for i in range(0, len(body), size)], check=check)
        assert form.fields == {"csrf": "abc"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (part("p", b"1" * 200, "a.jpg") + END, KIND, TooLarge),
        (b"".join(part("p", b"1", f"{i}.jpg") for i in range(4)) + END, KIND, TooLarge),
        (b"".join(part(f"f{i}", b"1") for i in range(5000)) + END, KIND, TooLarge),
        (part("f", b"1" * 70_000) + END, KIND, TooLarge),
        (part("p", b"1", "a.jpg", "X-A: " + "a" * 9000 + "\r\n") + END, KIND, Refused),
        (part("p", b"12345", "a.jpg")[:-4], KIND, Refused),
        (b"--x\r\nnonsense", KIND, Refused),
        (b"--x\r\nContent-Type: image/png\r\n\r\n1\r\n" + END, KIND, Refused),
        (b"a=b", "application/x-www-form-urlencoded", WrongKind),
        (END, "multipart/form-data", WrongKind),
        (END, "multipart/form-data; boundary=" + "x" * 300, WrongKind),
    ],
)
def test_what_is_too_much_or_damaged_is_refused_and_leaves_nothing(
    tmp_path: Path, body: bytes, kind: str, error: type[PortraitError]
) -> None:
    with pytest.raises(error):
        receive(tmp_path, [body], kind, most_bytes=100)
    assert list(tmp_path.iterdir()) == []


def test_a_browser_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield part("p", b"12", "a.jpg")[:-3]
        raise ConnectionError

    class Gone(Request):
        def stream(self) -> AsyncIterator[bytes]:  # type: ignore[override]
            return broken()

    async def run() -> None:
        request = Gone({"type": "http", "headers": [(b"content-type", KIND.encode())]})
        async with uploads.received(request, tmp_path, most_files=1):
            raise AssertionError("not whole")

    with pytest.raises(ConnectionError):
        asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_had_received_is_cleaned_away_and_nothing_else(tmp_path: Path) -> None:
    Path(tempfile.mkdtemp(dir=tmp_path, prefix="form-"), "0001.part").write_bytes(b"1")
    (tmp_path / "other").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "form-link").symlink_to(tmp_path / "elsewhere")
    uploads.clean_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"other", "elsewhere", "form-link"}
    assert (tmp_path / "elsewhere" / "kept").exists()


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("IMG_0412.HEIC", "IMG_0412.HEIC"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\a\\me.jpg", "me.jpg"),
        (".bashrc", "bashrc"),
        ("...", "photo"),
        ("", "photo"),
        ("a\0b.jpg", "ab.jpg"),
        ("a\r\nb.jpg", "ab.jpg"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("con.jpg", "_con.jpg"),
        ("me .jpg. ", "me.jpg"),
        ('<img src="x">.png', "_img src=_x__.png"),
        ("é" * 200 + ".jpeg", "é" * 47 + ".jpeg"),
        ("x" * 300, "x" * 99),
    ],
)
def test_a_foreign_name_is_one_component_here(name: str, cleaned: str) -> None:
    assert uploads.clean_name(name) == cleaned
    assert uploads.clean_name(cleaned) == cleaned and len(cleaned.encode()) <= 100


def test_a_full_disk_is_said_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PortraitError, match="the disk is full") as refused:
        receive(tmp_path, [part("p", b"1", "a.jpg") + END])
    assert status_of(refused.value) == 507 and list(tmp_path.iterdir()) == []
