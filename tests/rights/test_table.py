"""What the licences mean is stated before training, and commercial use is refused where it is forbidden."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portrait_lora.errors import InputError
from portrait_lora.families.catalog import bases
from portrait_lora.rights import table as rights
from portrait_lora.rights.table import Right

BASE = Right("base", "free", "Apache-2.0", "yes", "May be sold.")
PACK = Right("face pack", "pack", "MIT", "yes", "Fine.")


def test_the_adapter_inherits_and_the_portraits_need_consent() -> None:
    rows = rights.table(BASE, PACK)
    assert [r.what for r in rows] == ["base", "face pack", "adapter", "portraits"]
    assert [r.commercial for r in rows] == ["yes"] * 4
    assert "consent" in rows[3].terms
    closed = rights.table(replace(BASE, commercial="no"), PACK)
    assert [r.commercial for r in closed] == ["no", "yes", "no", "conditional"]
    assert len(rights.lines(rows)) == 5


@pytest.mark.parametrize("what", ["base", "pack"])
def test_commercial_use_is_refused_where_forbidden(what: str) -> None:
    rights.refuse_commercial(rights.table(BASE, PACK))
    base = replace(BASE, commercial="no") if what == "base" else BASE
    pack = replace(PACK, commercial="no") if what == "pack" else PACK
    with pytest.raises(InputError, match="commercial use") as caught:
        rights.refuse_commercial(rights.table(base, pack))
    assert caught.value.exit_code == 2


def test_every_base_has_its_terms_in_a_sentence() -> None:
    for base in bases():
        assert base.terms.endswith(".") and len(base.terms) > 10, base.name
        assert base.licence and base.commercial in ("yes", "conditional", "no")
