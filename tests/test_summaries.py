"""What a command says at its end."""

from __future__ import annotations

from importlib import metadata

import pytest

from portrait_lora import summaries


def test_a_missing_package_is_reported_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "datasets":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    versions = summaries.versions()
    assert versions["datasets"] == "not installed"
    assert versions["torch"] == real("torch") and set(summaries.PACKAGES) < set(versions)
