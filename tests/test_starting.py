"""A start imports nothing that it does not use, and what is put off comes when it is used."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from portrait_lora import starting


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose modules note that they ran."""
    (tmp_path / "slow_one").mkdir()
    (tmp_path / "slow_one" / "__init__.py").write_text("")
    (tmp_path / "slow_one" / "part.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nvalue = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("slow_one", "slow_one.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "slow_one" / "ran"


def test_a_module_that_is_put_off_runs_when_it_is_used(package: Path):
    starting.put_off("slow_one.part")
    import slow_one.part as part  # type: ignore[import-not-found]

    assert not package.exists()
    assert part.value == 7 and sys.modules["slow_one"].part is part
    assert package.exists()


def test_a_module_that_fails_is_tried_again(package: Path):
    module = package.parent / "part.py"
    module.write_text("raise ImportError('broken')\n")
    starting.put_off("slow_one.part")
    with pytest.raises(ImportError, match="broken"):
        _ = sys.modules["slow_one.part"].value
    assert "slow_one.part" not in sys.modules
    with pytest.raises(ImportError, match="broken"):
        __import__("slow_one.part")


@pytest.mark.parametrize("name", ["no_such_library", "no_such_library.part"])
def test_what_is_not_installed_is_still_not_to_be_had(name: str):
    starting.put_off(name)
    with pytest.raises(ModuleNotFoundError):
        __import__(name)


def test_a_module_that_runs_already_stays():
    before = sys.modules["subprocess"]
    starting.put_off("subprocess")
    assert sys.modules["subprocess"] is before


def test_a_program_collects_rarely_until_it_settles():
    code = (
        "import gc, sys; from portrait_lora import starting; usual = gc.get_threshold(); starting.quickly()\n"
        "assert gc.get_threshold()[0] > 10 * usual[0]; import bitsandbytes, scipy.stats\n"
        "assert 'torch' not in sys.modules and 'scipy.optimize' not in sys.modules\n"
        "starting.settle(); assert gc.get_threshold() == usual and gc.get_freeze_count() > 1000\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_peft_asks_for_bitsandbytes_once_a_network_is_quantised():
    from peft.import_utils import is_bnb_available

    from portrait_lora.families import peft_library

    threshold, before = gc.get_threshold(), sys.modules.get("bitsandbytes")
    peft_library._answer_no()
    assert not is_bnb_available() and sys.modules.get("bitsandbytes") is before
    peft_library.use_quantised_layers()
    assert is_bnb_available()
    assert gc.get_threshold() == threshold


def test_who_begins_to_train_imports_no_face_library_and_lists_what_is_installed_once():
    """insightface is not needed; diffusers and transformers both ask for the list when imported."""
    code = (
        "import sys; from importlib import metadata; from portrait_lora import starting; starting.quickly();"
        "first = metadata.packages_distributions();"
        "assert 'numpy' in first and metadata.packages_distributions() is first;"
        "import portrait_lora.stages.train; sys.exit('insightface' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
