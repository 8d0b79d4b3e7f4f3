"""The OpenAPI document: the application answers as it says, the client is made of it, the page shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from starlette.testclient import TestClient

from portrait_lora.web.app import create_app
from portrait_lora.web.v1 import events
from portrait_lora.web.v1.docs import schema_of
from portrait_lora.web.web_settings import WebSettings
from scripts import web_client
from tests.web.conftest import ORIGIN, PAGE, TOKEN, browser, program
from tests.web.v1.test_people import jpeg, person_of, send

EXAMPLES = {GenerationMode.POSITIVE: 2, GenerationMode.NEGATIVE: 2}
"""One that reaches something which is there, and one as it was drawn; thrice as many if exhaustive."""
ALIKE = ("prepare", "train", "run")
"""Their body is that of another one."""
CHECKS = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


@schemathesis.serializer("application/offset+octet-stream")
def _piece(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


SLOW = ("open_demo", "lint_prompt")
"""Draws pictures, or loads a tokenizer: other tests call them."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> tuple[FastAPI, dict[str, str]]:
    """A person with a photo, a webhook, and a job that is over; and their ids."""
    app = create_app(tmp_path_factory.mktemp("schema") / "studio", WebSettings(token=TOKEN, runs_jobs=False))
    api = program(app)
    person = person_of(api)
    photo = send(api, person, ("a.jpg", jpeg())).json()["items"][0]["id"]
    job = api.post(f"/v1/likenesses/{person}/check").json()["id"]
    api.post(f"/v1/jobs/{job}/cancel")
    hook = api.post("/v1/webhooks", json={"url": "https://hooks.example.org/"}).json()["id"]
    return app, {"person": person, "photo": photo, "job": job, "hook": hook}


def test_every_operation_answers_as_the_document_says(
    studio: tuple[FastAPI, dict[str, str]], monkeypatch: pytest.MonkeyPatch, exhaustive: bool
) -> None:
    monkeypatch.setattr(events, "_LONGEST_SECONDS", 0.02)  # a stream of a waiting job does not end by itself
    app, ids = studio
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": ORIGIN.removeprefix("http://")}
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app, headers=headers)
    names: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        name = operation.definition.raw["operationId"]
        names.append(name)
        if name in SLOW:
            continue
        for mode, count in EXAMPLES.items():
            if name in ALIKE and mode is GenerationMode.NEGATIVE:
                continue
            try:
                strategy = operation.as_strategy(generation_mode=mode)
                _try_out(strategy, 3 * count if exhaustive else count, headers, ids, operation.path)
            except Exception as error:
                if "Unsatisfiable" in type(error).__name__:
                    continue  # nothing of it can be wrong
                error.add_note(f"{name}, {mode}")
                raise
    assert len(names) == len(set(names)) > 40


def _try_out(strategy: Any, count: int, headers: dict[str, str], ids: dict[str, str], path: str) -> None:
    seen = 0

    @given(case=strategy)
    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def run(case: Any) -> None:
        nonlocal seen
        seen += 1
        if seen % 2:  # every other one reaches something that is there
            real = {"id": ids["job"] if "/jobs/" in path else ids["person"]}
            real |= {"photo": ids["photo"], "hook": ids["hook"]}
            case.path_parameters = {k: real.get(k, v) for k, v in (case.path_parameters or {}).items()}
        if "wait" in (case.query or {}):
            case.query["wait"] = 0.01
        case.call_and_validate(headers=headers, checks=CHECKS)

    run()


def test_the_document_has_no_answer_without_a_shape_and_no_validation_error_of_the_framework(
    studio: tuple[FastAPI, dict[str, str]],
) -> None:
    document = schema_of(studio[0])
    assert "HTTPValidationError" not in str(document)
    for path, methods in document["paths"].items():
        assert path.startswith("/v1/")
        for method, one in methods.items():
            where = f"{method} {path}"
            assert one.get("description"), where
            assert "application/problem+json" in one["responses"]["4XX"]["content"], where
            for status, answer in one["responses"].items():
                if status != "204":
                    assert all(content["schema"] for content in answer["content"].values()), where


def test_the_client_is_the_one_that_its_script_writes(studio: tuple[FastAPI, dict[str, str]]) -> None:
    for name, text in web_client.texts(schema_of(studio[0])).items():
        assert Path(web_client.WEB / name).read_text(encoding="utf-8") == text, (
            "run: python -m scripts.web_client"
        )


def test_the_page_of_the_api_shows_every_operation_and_loads_nothing_from_elsewhere(
    studio: tuple[FastAPI, dict[str, str]],
) -> None:
    app = studio[0]
    page = browser(app).get("/docs", headers=PAGE)
    assert page.status_code == 200
    for methods in schema_of(app)["paths"].values():
        for one in methods.values():
            assert f'id="{one["operationId"]}"' in page.text
    for outside in ("https://", "//cdn", "http://cdn", " style=", "onclick"):
        assert outside not in page.text
    anonymous = TestClient(app, base_url=ORIGIN, follow_redirects=False)
    assert anonymous.get("/docs", headers=PAGE).status_code == 303
    assert anonymous.get("/v1/openapi.json").status_code == 401
