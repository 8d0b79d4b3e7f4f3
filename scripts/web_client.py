"""Writes `portrait_lora/web/client.py` and `client_shapes.py` from the OpenAPI document of the application.

python -m scripts.web_client           # writes both
python -m scripts.web_client --check   # exits 1 when they are not what would be written
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

WEB: Final = Path(__file__).parents[1] / "portrait_lora" / "web"
_REF: Final = "#/components/schemas/"
_PLAIN: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_LEFT_OUT: Final = ("stream_job_events",)
"""Operations that `Transport` has by hand."""
_BY_PATH: Final = (("/likenesses/{id}", "likeness"), ("/jobs/{id}", "job"))
"""What the `{id}` of an address is called."""
Tree = Mapping[str, Any]


def main() -> None:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [name for name, text in texts(schema()).items() if not _same(WEB / name, text, write=not check)]
    if check and stale:
        print(f"not up to date: {', '.join(stale)}; run: python -m scripts.web_client", file=sys.stderr)
        raise SystemExit(1)


def schema() -> dict[str, Any]:
    """The OpenAPI document of a studio without anybody in it."""
    from portrait_lora.web.app import create_app
    from portrait_lora.web.v1.docs import schema_of
    from portrait_lora.web.web_settings import WebSettings

    with tempfile.TemporaryDirectory() as home:
        return schema_of(create_app(Path(home), WebSettings(runs_jobs=False)))


def texts(document: Tree) -> dict[str, str]:
    """File name → its text, formatted."""
    return {
        "client_shapes.py": _formatted(_shapes(document)),
        "client.py": _formatted(_client(document)),
    }


def _same(path: Path, text: str, *, write: bool) -> bool:
    same = path.is_file() and path.read_text(encoding="utf-8") == text
    if write and not same:
        path.write_text(text, encoding="utf-8")
    return same


def _formatted(text: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--line-length", "110", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _shapes(document: Tree) -> str:
    names = sorted(_used(document))
    parts = [
        '"""The shapes of what the API answers, for type checkers; written by `scripts/web_client.py`."""\n',
        "from __future__ import annotations\n\nfrom typing import Any, Literal, NotRequired, TypedDict\n",
    ]
    for name in names:
        one = document["components"]["schemas"][name]
        needed = set(one.get("required", []))
        lines = [f"class {name}(TypedDict):", f'    """{_first(one.get("description", name))}"""', ""]
        for field, value in one.get("properties", {}).items():
            kind = _kind(value)
            lines.append(f"    {field}: {kind if field in needed else f'NotRequired[{kind}]'}")
        parts.append("\n".join(lines) + "\n")
    return "\n\n".join(parts)


def _used(document: Tree) -> set[str]:
    """Names of the shapes of answers, and of those that they hold."""
    waiting = [
        value["schema"]
        for methods in document["paths"].values()
        for method in _METHODS
        if method in methods
        for status, answer in methods[method]["responses"].items()
        if status.startswith("2")
        for media, value in answer.get("content", {}).items()
        if media == "application/json"
    ]
    names: set[str] = set()
    while waiting:
        one = waiting.pop()
        for name in re.findall(rf"{_REF}(\w+)", str(one)):
            shape = document["components"]["schemas"][name]
            if name not in names and shape.get("properties"):
                names.add(name)
                waiting.append(shape)
    return names


def _client(document: Tree) -> str:
    methods = [
        _method(document, method, path, one)
        for path, rows in document["paths"].items()
        for method, one in rows.items()
        if method in _METHODS and one["operationId"] not in _LEFT_OUT
    ]
    typing = ["Any"] if any("Any" in text for text in methods) else []
    head = [
        '"""A client of the API, one method per operation; written by `scripts/web_client.py`."""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Sequence",
        "from pathlib import Path",
        f"from typing import {', '.join([*typing, 'Literal'])}",
        "from urllib.parse import quote",
        "",
        "from portrait_lora.web import client_shapes as shapes",
        "from portrait_lora.web.transport import UNSET, ApiError, Transport, Unset",
        "",
        '__all__ = ["UNSET", "ApiError", "Client", "Unset"]',
        "",
        "",
        "class Client(Transport):",
        '    """A studio.  Arguments that are left out are not sent; `ApiError` tells what was refused."""',
        "",
    ]
    return "\n".join([*head, *methods])


def _method(document: Tree, method: str, path: str, one: Tree) -> str:
    """The text of one method of the client."""
    places = {name: _place(name, path) for name in re.findall(r"{(\w+)}", path)}
    required = [f"{name}: str" for name in places.values()]
    optional: list[str] = []
    call = [f'"{method.upper()}"', _path(path, places)]
    query = [p for p in one.get("parameters", []) if p["in"] == "query"]
    for p in query:
        if p.get("required"):
            required.append(f"{p['name']}: {_kind(p['schema'])}")
        else:
            optional.append(f"{p['name']}: {_unset(_kind(p['schema']))}")
    if query:
        pairs = ", ".join(f'"{p["name"]}": {p["name"]}' for p in query)
        call.append(f"query={{{pairs}}}")
    names = [p["name"] for p in one.get("parameters", []) if p["in"] == "header"]
    content = one.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        fields = _body(document, content["application/json"]["schema"])
        required += [f"{name}: {kind}" for name, kind, needed in fields if needed]
        optional += [f"{name}: {_unset(kind)}" for name, kind, needed in fields if not needed]
        pairs = ", ".join(f'"{name}": {name}' for name, _, _ in fields)
        call.append(f"body={{{pairs}}}")
    if "multipart/form-data" in content:
        required.append("files: Sequence[Path]")
        call.append("files")
    elif content and "application/json" not in content:
        required += ["upload_offset: int", "data: bytes"]
        media = next(iter(content))
        call += ["data=data", f'headers={{"Upload-Offset": str(upload_offset), "Content-Type": "{media}"}}']
    if "Idempotency-Key" in names:
        optional.append('idempotency_key: str = ""')
        call.append("key=idempotency_key")
    result, how = _result(one["responses"])
    how = "_form" if "multipart/form-data" in content else how
    star = ["*"] if optional else []
    signature = ", ".join(["self", *required, *star, *optional])
    body = f"self.{how}({', '.join(call)})"
    lines = [
        f"    def {one['operationId']}({signature}) -> {result}:",
        f'        """{_first(_words(one))}"""',
    ]
    lines.append(f"        {body}" if result == "None" else f"        return {body}")
    return "\n".join(lines) + "\n"


def _unset(kind: str) -> str:
    """The type of an argument that may be left out; None stands last."""
    rest = kind.removesuffix(" | None")
    return f"{rest} | Unset{' | None' if rest != kind else ''} = UNSET"


def _place(name: str, path: str) -> str:
    return next((word for part, word in _BY_PATH if part in path), name) if name == "id" else name


def _path(path: str, places: Mapping[str, str]) -> str:
    text = path
    for name, word in places.items():
        text = text.replace(f"{{{name}}}", f"{{quote({word}, safe='')}}")
    return f'f"{text}"' if places else f'"{text}"'


def _body(document: Tree, raw: Tree) -> list[tuple[str, str, bool]]:
    """(name, type, required) of the fields of a body."""
    shape = document["components"]["schemas"][raw["$ref"].removeprefix(_REF)]
    needed = set(shape.get("required", []))
    return [(name, _kind(value), name in needed) for name, value in shape["properties"].items()]


def _result(responses: Tree) -> tuple[str, str]:
    """The type of the answer, and the method of `Transport` that reads it."""
    for status, answer in responses.items():
        content = answer.get("content", {})
        if not status.startswith("2"):
            continue
        if "application/json" in content:
            return _kind(content["application/json"]["schema"], "shapes."), "_json"
        return ("bytes", "_bytes") if content else ("None", "_json")
    return "None", "_json"


def _kind(raw: Tree, place: str = "") -> str:
    """The Python type of a schema."""
    if "$ref" in raw:
        name = raw["$ref"].removeprefix(_REF)
        return "Any" if name == "JsonValue" else place + name
    if "anyOf" in raw:
        return " | ".join(dict.fromkeys(_kind(one, place) for one in raw["anyOf"]))
    if "enum" in raw:
        return f"Literal[{', '.join(map(repr, raw['enum']))}]"
    if "const" in raw:
        return f"Literal[{raw['const']!r}]"
    kind = raw.get("type")
    if kind == "array":
        return f"list[{_kind(raw.get('items', {}), place)}]"
    if kind == "object":
        return f"dict[str, {_kind(raw.get('additionalProperties') or {}, place)}]"
    return _PLAIN.get(str(kind), "Any")


def _words(one: Tree) -> str:
    return str(one.get("description") or one["summary"])


def _first(text: str) -> str:
    """The first paragraph on one line, within the length of a line."""
    words = " ".join(text.split("\n\n")[0].split())
    return words if len(words) <= 95 else words.split(". ")[0].split(":")[0].split(";")[0].rstrip(".") + "."


if __name__ == "__main__":
    main()
