"""What the administrator of this machine has decided about marks and the guard: `policy.yaml`.

It lies outside every likeness folder: `/etc/portrait_lora/policy.yaml`, or, where there is none, that of the
account in `$XDG_CONFIG_HOME/portrait_lora/`.  No prompt, no series and no `likeness.yaml` can change it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from portrait_lora import strict_yaml
from portrait_lora.errors import ConfigError
from portrait_lora.settings import Section

OF_MACHINE: Final = Path("/etc/portrait_lora/policy.yaml")
Allowed = Literal["sexual", "violence"]
"""What an administrator may let pass.  Minors are a matter of consent, and never together with sex."""
Topic = Literal["sexual", "minors", "violence"]


class Signing(Section):
    """A certificate of a real authority instead of the local one, and a time-stamp authority."""

    certificate: Path | None = None
    key: Path | None = None
    timestamp: Annotated[str, Field(pattern=r"^(https?://\S+)?$", max_length=500)] = ""


class Classifier(Section):
    """A network that the guard asks: a name of `pull`, or the whole path of a folder with its `labels`.

    From `threshold` on, 0..1, what it is sure of is refused.
    """

    model: Annotated[str, Field(min_length=1, max_length=1000)]
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    labels: tuple[str, ...] = ()


class Guarding(Section):
    """What the guard lets pass or refuses beyond its own lists."""

    allow: tuple[Allowed, ...] = ()
    allowed_words: tuple[str, ...] = ()
    refused_words: dict[Topic, tuple[str, ...]] = Field(default_factory=dict)
    text_classifier: Classifier | None = None
    """Reads every prompt after the lists, for sexual content."""
    picture_checker: Classifier | None = None
    """Looks at every drawn picture before it is written, for sexual content."""
    log: bool = True


class Policy(Section):
    """The whole file; every part has a default."""

    signing: Signing = Signing()
    guard: Guarding = Guarding()


def place() -> Path:
    """The file that decides, whether it is there or not."""
    if OF_MACHINE.is_file():
        return OF_MACHINE
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "portrait_lora" / "policy.yaml"


def current() -> Policy:
    """The policy in force.  Raises `ConfigError` for a file that cannot be read: nothing is guessed."""
    path = place()
    if not path.is_file():
        return Policy()
    raw = strict_yaml.load(path, "policy") or {}
    try:
        policy = Policy.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"the policy is wrong: {first['msg']}", where=f"{path}: {key}") from error
    signing = policy.signing
    if (signing.certificate is None) != (signing.key is None):
        needed = "both signing.certificate and signing.key, or neither"
        raise ConfigError("half of a signer is configured", where=path, needed=needed)
    return policy
