"""The house is as its page says: a question is answered by a file's name, and the tree is the package's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import architecture, cards

PACKAGE = architecture.PACKAGE
QUESTIONS = {
    "the loss": ("training/loss.py", "def sample_loss("),
    "min-SNR": ("training/loss_weights.py", "Min-SNR weight of each sample"),
    "the training loop": ("training/loop.py", "while "),
    "the layers of FLUX.2 that a LoRA changes": ("families/flux2.py", "LoraLayers("),
    "the licences of the bases": ("families/rows/sdxl.py", "licence="),
    "similarity": ("evaluation/similarity.py", "def score_portraits("),
    "how the checkpoint is chosen": ("evaluation/checkpoint_choice.py", "def choose_checkpoint("),
    "thresholds": ("evaluation/thresholds.py", "def threshold_at("),
    "the drift page": ("evaluation/drift_page.py", "def write_drift_html("),
    "schedulers": ("generation/schedulers.py", "SCHEDULERS"),
    "captioners": ("dataset/captioners.py", "def choose_captioner("),
    "consent": ("rights/consent.py", "class Consent:"),
    "the downloader": ("hub/download.py", "def fetch_file("),
    "the command `sweep`": ("tasks/sweep.py", "def sweep(folder: Path, scales"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_by_the_file_of_that_name(question: str) -> None:
    name, answer = QUESTIONS[question]
    assert answer in (PACKAGE / name).read_text(encoding="utf-8")
    elsewhere = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if answer.startswith(("def ", "class ")) and answer in path.read_text(encoding="utf-8")
    ]
    assert elsewhere in ([], [name])
    page = architecture.PAGE.read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {question}")]
    assert f"`{name}`" in row


def test_the_tree_is_that_of_the_package() -> None:
    page = architecture.PAGE.read_text(encoding="utf-8")
    assert architecture.page(page) == page, "run: make figures"
    shown = page.split(architecture.BEGIN)[1].split(architecture.END)[0]
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert len(re.findall(r"^ +[\w/]+\.py ", shown, re.M)) == len(modules) > 200


def test_the_page_of_cards_is_that_of_the_catalogue() -> None:
    assert cards.PAGE.read_text(encoding="utf-8") == cards.text(), "run: make figures"
    assert cards.text().count("\n## ") == 5 and "| `sdxl` | 1024 px |" in cards.text()


def test_every_file_that_the_page_names_is_there() -> None:
    for page in ("docs/architecture.md", "CONTRIBUTING.md", "SECURITY.md"):
        text = (architecture.ROOT / page).read_text(encoding="utf-8").split(architecture.BEGIN)[0]
        named = set(re.findall(r"`((?:[\w.-]+/)*\w+\.(?:py|toml|json|md))`", text))
        assert len(named) > 3
        for name in named - MADE:
            assert any((root / name).is_file() for root in (architecture.ROOT, PACKAGE)), f"{page}: {name}"


MADE = (
    {"NAME.yaml", "run.json", "manifest.json", "model_index.json", "CARD.md"}
    | {
        f"{folder}/NAME.py"
        for folder in ("portrait_lora/families", "portrait_lora/families/rows", "portrait_lora/tasks")
    }
    | {"reports/run.json"}
)
"""What a person or a run makes, in the words of the pages."""


def test_the_first_sentence_is_taken_whole(tmp_path: Path) -> None:
    module = tmp_path / "one.py"
    module.write_text('"""Reads `a.b`, e.g. version 1.2 of\nit.  Torch-free.\n\nMore."""\n')
    assert architecture.first_line(module) == "Reads `a.b`, e.g. version 1.2 of it"
