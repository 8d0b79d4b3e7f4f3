"""The linter on a text, on a file of prompts, or on a series."""

from __future__ import annotations

from pathlib import Path

from portrait_lora.config import configs_dir
from portrait_lora.errors import InputError
from portrait_lora.families import catalog
from portrait_lora.families.row import CLIP, TextReader
from portrait_lora.families.rows import row_of
from portrait_lora.generation import a1111, prompts, reading
from portrait_lora.generation.compose import counter_of, fit
from portrait_lora.generation.lint import foreign_syntax, ignored_negative, lint
from portrait_lora.results import Value


class PromptRemark(Value):
    """What weakens a prompt, and what to write instead; see `generation.lint.Remark`."""

    code: str
    said: str
    instead: str


class LintedPrompt(Value):
    """A prompt, where it stands, and the remarks on it."""

    where: str
    prompt: str
    remarks: tuple[PromptRemark, ...]


def lint_text(text: str, base: str = "", aspect: str = "") -> list[LintedPrompt]:
    """One row per prompt: where it stands, the prompt, its remarks.

    `text` is a prompt, a text file with one prompt per line (# begins a comment), a series file or the
    name of a packaged series.  Without `base` CLIP's 77 tokens count and every word is known; a series is
    written in free text then.
    """
    model = catalog.resolve_base(base) if base else None
    known = prompts.known_words(model) if model else None
    counter, limit = counter_of(model.folder if model else None, _reader(model))
    if known is not None:
        known |= {"person"}
    rows: list[LintedPrompt] = []
    for where, prompt, size, negative in _prompts(text, model, aspect):
        words = a1111.plain(prompt).text
        _, lost = fit(words, limit, counter)
        warnings = list(lint(words, size_px=size, known=known, lost=lost))
        warnings += [remark for written in (prompt, negative) if (remark := foreign_syntax(written))]
        if model and (ignored := ignored_negative(negative, model.guidance_scale, model.family)):
            warnings.append(ignored)
        remarks = tuple(PromptRemark(code=r.code, said=r.problem, instead=r.instead) for r in warnings)
        rows.append(LintedPrompt(where=where, prompt=prompt, remarks=remarks))
    return rows


def _reader(model: catalog.BaseModel | None) -> TextReader:
    """Who reads the prompts: the base's text encoder, or CLIP where none is named."""
    return row_of(model.family).text if model else CLIP


def _prompts(
    text: str, model: catalog.BaseModel | None, aspect: str
) -> list[tuple[str, str, tuple[int, int] | None, str]]:
    """(where, prompt, size, negative prompt) of each."""
    size = reading.aspect(aspect, Path("--aspect")) if aspect else None
    path = Path(text) if len(text) < 255 and "\n" not in text else None
    packaged = path is not None and (configs_dir() / "series" / f"{text}.yaml").is_file()
    if packaged or (path is not None and path.suffix in (".yaml", ".yml")):
        words = prompts.known_words(model) if model else None
        shots = prompts.load_series(
            text,
            trigger="ohwx",
            subject="person",
            resolution_px=model.resolution_px if model else 1024,
            form=_reader(model).form,
            closed=words is not None,
            known=words,
        )
        return [(shot.name, shot.prompt, shot.size_px, shot.negative_prompt) for shot in shots]
    if path is not None and path.is_file():
        return [(f"{path.name}:{line}", prompt, size, "") for line, prompt in reading.prompt_lines(path)]
    if path is not None and path.suffix in (".txt", ".csv", ".md") and " " not in text:
        raise InputError("no such file of prompts", where=path)
    if not text.strip():
        raise InputError("an empty prompt", where="prompts lint")
    return [("prompt", text.strip(), size, "")]
