"""The kinds of jobs: each the arguments it takes, and the function of a command that it calls.

Nothing here asks anybody anything: photographs without a recorded consent, and models that are not on this
machine, end a job with the error of the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from portrait_lora import config, likeness
from portrait_lora.errors import EXIT_DONE, EXIT_FAILED, EXIT_PHOTOS, InputError
from portrait_lora.jobs import arguments as args
from portrait_lora.jobs.arguments import Arguments, did_you_mean

Needs = Literal["likeness", "photos", "folder", "nothing"]
"""What has to lie at the job's folder: a likeness, photos to look at, any folder, or nothing yet."""
A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: what it is for in a sentence, its arguments, and what it does.

    `on_device` jobs wait for their device; the others run beside them, one at a time.
    """

    name: str
    about: str
    arguments: type[Arguments]
    run: Callable[[Path, Any], object]
    needs: Needs = "likeness"
    on_device: bool = True
    code: Callable[[Any], int] = lambda result: EXIT_DONE
    """The exit code of the command for this result, whose work was done all the same."""


def named(name: str) -> Kind:
    """The kind of that name.  Raises `InputError` with the nearest one."""
    if name not in KINDS:
        raise InputError("unknown kind of job", where="kind", got=name, remedy=did_you_mean(name, KINDS))
    return KINDS[name]


def validated(name: str, folder: Path, raw: Mapping[str, Any]) -> Arguments:
    """The arguments of a new job.  Raises `InputError` for a kind, an argument or a folder that cannot be."""
    kind = named(name)
    arguments = args.read(kind.arguments, name, raw)
    require_folder(kind, folder)
    file = folder / config.FILE_NAME
    config.load(file if file.is_file() else None, arguments.overrides)
    return arguments


def require_folder(kind: Kind, folder: Path) -> None:
    """Raise `InputError` when the folder is not what the kind needs."""
    if kind.needs == "likeness":
        likeness.require_photos(folder)
    elif kind.needs != "nothing" and not folder.is_dir():
        got = "a file" if folder.exists() else "nothing there"
        raise InputError("no such folder", where=folder, got=got, needed=f"a folder ({kind.needs})")


def _likeness(folder: Path, arguments: Arguments) -> Any:
    from portrait_lora.api import Likeness

    return Likeness(folder, settings=arguments.overrides)


def _check(folder: Path, arguments: Arguments) -> object:
    from portrait_lora import recipe

    return recipe.check(folder, overrides=arguments.overrides).json_value()


def _prepare(folder: Path, arguments: args.Stage) -> object:
    _require_models(folder, arguments)
    return _likeness(folder, arguments).prepare(force=arguments.force).json_value()


def _train(folder: Path, arguments: args.Stage) -> object:
    _require_consent(folder, arguments)
    _require_models(folder, arguments)
    return _likeness(folder, arguments).train(force=arguments.force).json_value()


def _run(folder: Path, arguments: args.Stage) -> object:
    _require_consent(folder, arguments)
    _require_models(folder, arguments)
    return _likeness(folder, arguments).run(force=arguments.force).json_value()


def _generate(folder: Path, arguments: args.Generate) -> object:
    from portrait_lora.api import Likeness

    _require_models(folder, arguments)
    own = {"best_of": arguments.best_of, "max_pictures": arguments.max_pictures}
    chosen = [f"generate.{key}={value}" for key, value in own.items() if value is not None]
    opened = Likeness(folder, settings=[*arguments.overrides, *chosen])
    done = opened.generate(
        arguments.series,
        prompts=arguments.prompts,
        brand=arguments.brand,
        aspect=arguments.aspect,
        force=arguments.force,
    )
    return done.json_value()


def _score(folder: Path, arguments: args.Score) -> object:
    from portrait_lora import recipe

    _require_models(folder, arguments)
    clip = [f"score.clip={arguments.clip}"] if arguments.clip else []
    overrides = [*arguments.overrides, *clip]
    value = recipe.score(folder, overrides=overrides, force=arguments.force).json_value()
    if arguments.over:
        from portrait_lora.tasks import drift_over

        value["sweep"] = drift_over.run(folder, arguments.over, overrides).json_value()
    return value


def _demo(folder: Path, arguments: args.Demo) -> object:
    from portrait_lora import recipe

    done = recipe.demo(folder, arguments.person_seed, overrides=arguments.overrides, force=arguments.force)
    return done.json_value()


def _finish(folder: Path, arguments: args.Finish) -> object:
    from portrait_lora.tasks import finish

    out = folder / arguments.out if arguments.out else None
    done = finish.finish(
        _within(folder, arguments.file), arguments.look, folder, out, arguments.overrides,
        limit=arguments.limit, seed=arguments.seed,
    )  # fmt: skip
    return done.json_value()


def _vary(folder: Path, arguments: args.Vary) -> object:
    from portrait_lora.tasks import edit

    done = edit.vary(
        _within(folder, arguments.file), folder, arguments.overrides,
        strength=arguments.strength, count=arguments.count, changes=arguments.changes, shot=arguments.shot,
    )  # fmt: skip
    return done.json_value()


def _fix(folder: Path, arguments: args.Fix) -> object:
    from portrait_lora.generation.masks import decode_mask
    from portrait_lora.tasks import edit

    painted = decode_mask(arguments.mask_png) if arguments.mask_png else None
    region = arguments.region or (
        edit.read_mask(_within(folder, arguments.mask or "")) if painted is None else painted
    )
    done = edit.fix(
        _within(folder, arguments.file), folder, arguments.overrides, region=region,
        strength=arguments.strength, tries=arguments.tries, changes=arguments.changes, keep=arguments.keep,
    )  # fmt: skip
    return done.json_value()


def _compare(folder: Path, arguments: args.Compare) -> object:
    from portrait_lora.tasks import compare

    return compare.compare_reports(folder, folder / arguments.other)


def _judge(folder: Path, arguments: args.Judge) -> object:
    from portrait_lora.tasks import judge

    def place(text: str) -> Path | None:
        return folder / text if text else None  # an absolute one stays as it is

    portraits, held_out = folder / arguments.portraits, folder / "dataset" / "holdout"
    if not arguments.photos and not held_out.is_dir():
        remedy = "Prepare the likeness first, or name photos."
        raise InputError("no photos to compare with", where=held_out, remedy=remedy)
    training = folder / "dataset" / "train" if not arguments.photos and not arguments.training else None
    result = judge.score_folders(
        place(arguments.photos) or held_out,
        portraits,
        place(arguments.out) or portraits.parent / f"{portraits.name}_report",
        training=training or place(arguments.training),
        prompts_csv=place(arguments.prompts),
        face_pack=arguments.face_pack or _config(folder, arguments).face_pack,
        threshold_file=place(arguments.threshold),
        allow_synthetic=arguments.allow_synthetic_models,
        clip=arguments.clip,
    )
    return result.json_value()


def _pull(folder: Path, arguments: args.Pull) -> object:
    from portrait_lora.hub.hub import Hub
    from portrait_lora.tasks import pull

    hub = Hub.from_environment(offline=False)
    names = arguments.names or pull.names_of(folder, arguments.overrides)
    missing = [need.name for need in pull.needs(names, folder, hub)] if not arguments.names else names
    models = [model for name in missing for model in pull.pull(name, folder, hub)]
    return {"models": [{"source": m.source, "commit": m.commit, "files": len(m.files)} for m in models]}


def _shard(folder: Path, arguments: args.Shard) -> object:
    from portrait_lora.tasks.shard import work

    people = [Path(one).name for one in arguments.people]
    home = folder.parent.parent
    if [home / "people" / person for person in people] != [Path(one) for one in arguments.people]:
        raise InputError("these are not people of one fleet", where=home, got=", ".join(arguments.people))
    done = work.work(home, people, worker=arguments.worker, device=arguments.device)
    return {"people": {record.person: record.state.value for record in done}}


def _config(folder: Path, arguments: Arguments) -> config.LikenessConfig:
    return likeness.open_likeness(folder, arguments.overrides).config


def _within(folder: Path, name: str) -> Path:
    """A file or folder of the likeness, not through a link to elsewhere."""
    path = folder / name
    if not path.exists():
        raise InputError("no such picture", where=path)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError("this lies outside the likeness folder", where=path)
    return path


def _require_consent(folder: Path, arguments: Arguments) -> None:
    """Before the photos are looked at and prepared for nothing; the training asks again."""
    from portrait_lora.rights import consent

    consent.require(folder, folder / "photos", commercial=_config(folder, arguments).commercial)


def _require_models(folder: Path, arguments: Arguments) -> None:
    """Nothing large is downloaded by the way: that is a job of its own."""
    from portrait_lora.hub.hub import Hub
    from portrait_lora.tasks import pull

    if missing := pull.needs(pull.names_of(folder, arguments.overrides), folder, Hub.from_environment()):
        need = missing[0]
        raise InputError(
            "this model is not on this machine",
            where=need.name,
            got=f"{need.gigabytes:.1f} GB to be downloaded, {need.licence}",
            remedy=f"Queue the download first: portrait-lora jobs add pull {folder}",
        )


KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "check",
            "look at every photo",
            args.Arguments,
            _check,
            "photos",
            on_device=False,
            code=lambda result: EXIT_DONE if result["enough"] else EXIT_PHOTOS,
        ),
        Kind("prepare", "hold photos out, crop and caption the others", args.Stage, _prepare),
        Kind("train", "train the LoRA and choose its checkpoint", args.Stage, _train),
        Kind("generate", "draw a series, or prompts", args.Generate, _generate),
        Kind("score", "measure the likeness of the portraits", args.Score, _score),
        Kind("run", "everything from check to score", args.Stage, _run),
        Kind("demo", "the whole journey for a made-up person", args.Demo, _demo, "nothing"),
        Kind(
            "finish",
            "finish portraits by a look",
            args.Finish,
            _finish,
            code=lambda result: EXIT_DONE if all(p["file"] for p in result["pictures"]) else EXIT_FAILED,
        ),
        Kind("vary", "variations of a portrait", args.Vary, _vary),
        Kind(
            "fix",
            "draw one region of a portrait again",
            args.Fix,
            _fix,
            code=lambda result: EXIT_DONE if result["kept"] else EXIT_FAILED,
        ),
        Kind("compare", "likeness against another's", args.Compare, _compare, "folder", on_device=False),
        Kind("judge", "measure pictures from other tools", args.Judge, _judge, "folder"),
        Kind("pull", "download models", args.Pull, _pull, "folder", on_device=False),
        Kind("shard", "what a fleet does for a person, or several together", args.Shard, _shard, "folder"),
    )
}
"""Name -> kind, in the order of the journey."""
