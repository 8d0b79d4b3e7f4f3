"""The pages of a fleet from their templates, which share one style sheet."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """The text of a page; every value is escaped, and a name that is not there is an error."""
    environment = Environment(
        loader=PackageLoader("portrait_lora.fleet", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
