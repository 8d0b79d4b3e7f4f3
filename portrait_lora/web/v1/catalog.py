"""What can be asked for by name, the models, this machine, and a look through a prompt."""

from __future__ import annotations

from typing import Any

from portrait_lora.web.permissions import Member, Reader
from portrait_lora.web.problems import Forbidden
from portrait_lora.web.services import catalog, series
from portrait_lora.web.services.jobs import names_file
from portrait_lora.web.v1 import shapes
from portrait_lora.web.v1.routing import router as new_router

router = new_router("catalog")


@router.get("/series")
def list_packaged_series(user: Reader) -> shapes.PackagedSeriesList:
    """The series that come with the program."""
    items = [shapes.PackagedSeries(name=s.name, shots=list(s.shots)) for s in series.packaged_series()]
    return shapes.PackagedSeriesList(items=items)


@router.get("/looks")
def list_looks(user: Reader) -> shapes.LookList:
    """The looks of finishing that come with the program."""
    items = [shapes.Look(name=o.name, about=o.about, steps=list(o.steps)) for o in series.packaged_looks()]
    return shapes.LookList(items=items)


@router.get("/models")
def list_models(user: Reader) -> shapes.Models:
    """Base models and face packs with licence, size and memory; which may be used commercially."""
    value: dict[str, Any] = catalog.models()
    return shapes.Models.model_validate(value)


@router.get("/doctor")
def get_doctor(user: Reader) -> shapes.Doctor:
    """Whether this machine is ready.  Nothing is asked of the network."""
    checks = catalog.doctor()
    items = [shapes.Check(name=c.name, status=c.status, observed=c.observed, remedy=c.remedy) for c in checks]
    return shapes.Doctor(ready=all(c.status != "fail" for c in checks), checks=items)


@router.post("/prompts/lint")
def lint_prompt(user: Member, body: shapes.LintRequest) -> shapes.Lint:
    """What weakens a prompt, and what to write instead."""
    if names_file(body.base):
        raise Forbidden("a base model by its name", where="base", got=body.base[:120], needed="a name")
    remarks = [
        shapes.Remark(code=r.code, problem=r.problem, instead=r.instead)
        for r in catalog.lint(body.text, body.base, body.aspect)
    ]
    return shapes.Lint(remarks=remarks)
