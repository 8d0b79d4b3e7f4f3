"""The journey in six lines of Python, for notebooks and programs.

    from portrait_lora.api import Likeness

    me = Likeness.create("me", "photos", i_am_the_subject=True)
    me.check()
    me.train()
    me.generate(prompts=["as an astronaut, soft window light"])
    me.score()
    me.drift().mean

Every method does what the command of its name does, and what is done already is skipped.  Importing this
module imports no torch; the first method that needs it does.  Errors are those of `portrait_lora.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_lora import likeness, strict_json
from portrait_lora.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from portrait_lora.config import LikenessConfig
    from portrait_lora.plots import Plot
    from portrait_lora.records import DriftReport
    from portrait_lora.results import CheckResult, Journey, RunResult


class Likeness:
    """One person: the folder with their photos, and what is made of them.

    `settings` are `KEY=VALUE` as behind `-s` of the commands, such as `training.rank=32`; they go over
    `likeness.yaml` in every method of this object.
    """

    def __init__(self, folder: Path | str, *, settings: Sequence[str] = ()):
        """`InputError` unless `folder` is a likeness folder; `create` makes one."""
        self.folder = Path(folder)
        self.settings = tuple(settings)
        self._series: tuple[str, ...] = ()
        likeness.require_photos(self.folder)

    def __repr__(self) -> str:
        return f"Likeness({str(self.folder)!r})"

    @classmethod
    def open(cls, folder: Path | str, *, settings: Sequence[str] = ()) -> Likeness:
        """The likeness that lies in `folder`."""
        return cls(folder, settings=settings)

    @classmethod
    def create(
        cls,
        folder: Path | str,
        photos: Path | str,
        *,
        i_am_the_subject: bool = False,
        consent: Path | str | None = None,
        commercial: bool = False,
        settings: Sequence[str] = (),
    ) -> Likeness:
        """A new likeness folder with copies of the pictures in `photos` and a `likeness.yaml`, as of `init`.

        `settings` are written into the file; base model and face pack are proposed where they name none.
        Photographs are trained on only with a consent: `i_am_the_subject`, or a file of the person's.
        Raises `InputError` for a folder that is a likeness already, or a consent that is none.
        """
        from portrait_lora import recipe
        from portrait_lora.rights import consent as consents
        from portrait_lora.tasks.propose import proposed_settings

        root, source = Path(folder), Path(photos)
        stated = consents.stated(i_am_the_subject, Path(consent) if consent else None, "")
        proposed, _ = proposed_settings(source, settings, commercial=commercial)
        recipe.init(root, source, overrides=[*proposed, *settings])
        if stated:
            consents.write(root, stated)
        return cls(root)

    @classmethod
    def demo(
        cls,
        folder: Path | str = "demo",
        *,
        person_seed: int = 7,
        settings: Sequence[str] = (),
        force: bool = False,
    ) -> Likeness:
        """The whole journey for a made-up person, on the models that ship inside; nothing is downloaded."""
        from portrait_lora import recipe

        recipe.demo(Path(folder), person_seed, overrides=settings, force=force)
        return cls(folder, settings=settings)

    def pull(self) -> list[str]:
        """Download the base model and the face pack of the settings; the names of those that were missing."""
        from portrait_lora.hub.hub import Hub
        from portrait_lora.tasks import pull

        hub = Hub.from_environment(offline=False)
        missing = pull.needs(pull.names_of(self.folder, self.settings), self.folder, hub)
        for need in missing:
            pull.pull(need.name, self.folder, hub)
        return [need.name for need in missing]

    def check(self) -> CheckResult:
        """Look at every photo; bad photos are findings, never errors.  The page: `reports/check.html`."""
        from portrait_lora import recipe

        return recipe.check(self.folder, overrides=self.settings)

    def prepare(self, *, force: bool = False) -> Journey:
        """Hold photos out, crop and caption the others.  Raises `PhotosError` when too few are usable."""
        from portrait_lora import recipe

        return recipe.prepare(self.folder, overrides=self.settings, force=force)

    def train(self, *, force: bool = False) -> Journey:
        """Train the LoRA and choose its checkpoint on the held-out photos."""
        from portrait_lora import recipe

        self._refuse_what_may_not_be_sold()
        return recipe.train(self.folder, overrides=self.settings, force=force)

    def generate(
        self,
        series: Path | str = "",
        *,
        prompts: Sequence[str] | str = (),
        brand: Path | str = "",
        aspect: str = "",
        force: bool = False,
    ) -> Journey:
        """Draw a series (a packaged one or a YAML file) or prompts in your own words, by default the series
        of the settings.

        What was drawn last is what `score`, `portraits` and `pictures` then speak of.  `aspect` is `W:H`, for
        prompts.  Raises `InputError` for a series beside prompts, and what the command `generate` raises.
        """
        from portrait_lora import recipe

        words = [prompts] if isinstance(prompts, str) and prompts else list(prompts)
        if words and series:
            raise InputError("a series and prompts", where="generate", needed="one of them")
        if aspect and not words:
            raise InputError("an aspect without prompts", where="generate", got=aspect, needed="prompts")
        if words:
            from portrait_lora.stages.own_words import write_series

            series = write_series(self.folder, words, aspect=aspect)
        own = {"series": series, "brand": brand}
        chosen = tuple(f"generate.{key}={value}" for key, value in own.items() if value)
        done = recipe.generate(self.folder, overrides=[*self.settings, *chosen], force=force)
        self._series = chosen
        return done

    def score(self, *, force: bool = False) -> Journey:
        """Measure the likeness of the portraits.  The page: `reports/drift.html`."""
        from portrait_lora import recipe

        return recipe.score(self.folder, overrides=self._overrides, force=force)

    def run(self, *, force: bool = False) -> RunResult:
        """Everything from `check` to `score`; the result is `reports/run.json`."""
        from portrait_lora import recipe

        self._refuse_what_may_not_be_sold()
        self._series = ()
        return recipe.run(self.folder, overrides=self.settings, force=force)

    @property
    def config(self) -> LikenessConfig:
        """The settings as they are resolved now."""
        return likeness.open_likeness(self.folder, self._overrides).config

    @property
    def adapter(self) -> Path:
        """`adapter.safetensors`, as diffusers loads it.  Raises `InputError` before training."""
        return self._made(self._opened().adapters / "adapter.safetensors", "train")

    def portraits(self) -> list[Path]:
        """The PNG files of the series drawn last, by name.  Raises `InputError` when there are none."""
        opened = self._opened()
        folder = self._made(opened.portraits(opened.series), "generate")
        return sorted(p for p in folder.glob("*.png") if p.with_suffix(".json").is_file())

    def pictures(self) -> list[Image]:
        """The same as PIL pictures."""
        return [_picture(path) for path in self.portraits()]

    def finished(self) -> list[Path]:
        """The finished pictures of that series, by the look that its sheet or its brand's names.

        Raises `InputError` when it names none, or they are not made yet.
        """
        from portrait_lora.generation.series import finish_of
        from portrait_lora.stages.finish import look_of, pictures_of

        opened = self._opened()
        settings = opened.config.generate
        wanted = finish_of(settings.series, settings.brand)
        if wanted is None:
            remedy = "Name a look under `finish` in the YAML of the series or of the brand."
            raise InputError("neither series nor brand names a look", where=settings.series, remedy=remedy)
        folder = opened.portraits(f"{opened.series}-finished") / look_of(wanted).name
        return sorted(pictures_of(self._made(folder, "generate")).values())

    def contact_sheet(self) -> Image:
        """All portraits of the series on one sheet."""
        opened = self._opened()
        return _picture(self._made(opened.portraits(opened.series) / likeness.CONTACT_SHEET, "generate"))

    def comparison(self) -> Image:
        """Held-out photos, the base model without the adapter, and the portraits, in three rows."""
        return _picture(self._made(self.folder / "reports" / "likeness.jpg", "score"))

    def summary(self) -> RunResult:
        """`reports/run.json`: the figures of the whole journey.  Raises `InputError` before scoring."""
        from portrait_lora.results import RunResult

        path = self._made(self.folder / "reports" / "run.json", "score")
        return RunResult.read(strict_json.load_object(path, "summary", file_names=True), path)

    def drift(self) -> DriftReport:
        """The drift report: likeness as a whole, prompt by prompt and portrait by portrait."""
        from portrait_lora.evaluation.tables import read_report

        return read_report(self._made(self.folder / "reports" / "drift.json", "score"))

    def plot_loss(self) -> Plot:
        """The loss of every step, and its running mean."""
        from portrait_lora import plots

        return plots.loss(self._made(self._opened().adapters / "metrics.jsonl", "train"))

    def plot_similarity(self) -> Plot:
        """The likeness of every prompt with its interval, beside other people and real photos."""
        from portrait_lora import plots

        return plots.similarity(self.drift())

    @property
    def _overrides(self) -> list[str]:
        return [*self.settings, *self._series]

    def _opened(self) -> likeness.Likeness:
        return likeness.open_likeness(self.folder, self._overrides)

    def _made(self, path: Path, method: str) -> Path:
        if not path.exists():
            raise InputError(
                "this is not made yet", where=path, remedy=f"Call {method}() of this likeness first."
            )
        return path

    def _refuse_what_may_not_be_sold(self) -> None:
        from portrait_lora.rights import table
        from portrait_lora.tasks.rights_of import rights_of

        config = self.config
        if config.commercial:
            table.refuse_commercial(rights_of(config))


def _picture(path: Path) -> Image:
    from PIL import Image

    with Image.open(path) as opened:
        opened.load()
        return opened.copy()
