"""A face pack of one's own from ONNX files: made, tested on people, shown."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.faces import first_use, sanity
from portrait_lora.faces.backends import open_untested
from portrait_lora.faces.detectors import backend_of
from portrait_lora.faces.embedder import Embedder
from portrait_lora.faces.pack import FacePack, Role
from portrait_lora.faces.packs import FORMAT, HEADS, PACK_FILE, read_pack_file, resolve_pack
from portrait_lora.faces.people import LeftOut, People, look_at_people, without_mistakes
from portrait_lora.faces.preprocessing import Preprocessing, same, scaled
from portrait_lora.tasks.gallery import ROLES, derive

Commercial = Literal["yes", "no", "unknown"]
_THRESHOLDS: Final = {"opencv": 0.7, "insightface": 0.5}
"""Least score of a face, as in the packs that are fetched."""
_RATE: Final = 1e-3
_PLACEHOLDER: Final = 1.0
"""Nobody passes until a threshold is known."""
_MOST_MISTAKES: Final = 0.2
"""Share of pictures: where more seem to show somebody else, the embedder is at fault, not the folder."""


@dataclass(frozen=True, slots=True)
class Network:
    """An embedder of the user's: its file, preprocessing, id and threshold, where its maker states one."""

    file: Path
    preprocessing: Preprocessing
    threshold: float | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes into a pack."""

    name: str
    licence: str
    commercial: Commercial
    detector: Path
    select: Network
    report: Network
    landmarks: Path | None = None
    people: Path | None = None
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a sanity test: figures of both embedders (none without people), and who fell out."""

    pack: str
    outcome: first_use.Outcome
    evidence: str
    failures: tuple[str, ...]
    accepted: bool = False
    tested: tuple[sanity.Tested, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def json_value(self) -> dict[str, object]:
        return dict(asdict(self))

    @property
    def lines(self) -> list[str]:
        """For people."""
        lines = [f"{self.pack}: sanity test {self.outcome}, on {self.evidence}"]
        lines += [line for one in self.tested for line in one.lines]
        lines += [f"  FAILED: {f}" for f in self.failures] if not self.tested else []
        lines += [f"  {note}" for note in self.notes]
        if self.left_out:
            lines += [f"{len(self.left_out)} left out:", *(f"  {one.sentence}" for one in self.left_out)]
        return lines


def make(folder: Path, plan: Plan) -> Report:
    """Write the pack into a new folder, after the sanity test; nothing is there when that fails.

    Raises `InputError` for files that are no such networks, for a folder that is there, and without any
    threshold; `ArtifactError` with the figures when the test fails and `accept` was not given.
    """
    networks: dict[Role, Network] = {"select": plan.select, "report": plan.report}
    _refuse_other(folder, [plan.detector, *(n.file for n in networks.values())])
    backend = backend_of(plan.detector)
    if plan.landmarks is not None and backend == "opencv":
        needed = "a detector of the SCRFD layout"
        raise InputError("landmarks need insightface", where=plan.landmarks, got="YuNet", needed=needed)
    for network in networks.values():
        Embedder(network.file, network.preprocessing)
    if plan.people is None and any(n.threshold is None for n in networks.values()):
        raise InputError(
            "no threshold is known for an embedder",
            where=folder,
            needed="--select-threshold and --report-threshold, or people to derive them from",
            remedy="Look them up where the networks come from, or pass --people FOLDER (56 people or more).",
        )
    with manifest.new_folder(folder) as part:
        raw = _described(plan, networks, backend, part)
        manifest.write_json_atomic(part / PACK_FILE, raw)
        pack = resolve_pack(str(part), quiet=True)
        for role in ROLES:
            open_untested(pack, role)  # the backend's own opinion of the files
        if plan.people is None:
            report = _quick(pack, plan.accept)
        else:
            looked = _usable(look_at_people(plan.people, lambda role: open_untested(pack, role)))
            raw = _with_thresholds(raw, pack, networks, looked, plan.people)
            manifest.write_json_atomic(part / PACK_FILE, raw)
            report = _on_people(resolve_pack(str(part), quiet=True), looked, plan.people, plan.accept)
        if report.outcome == "failed":
            if not plan.accept:
                raise first_use.failed(folder, report.failures)
            raw["accepted"] = "; ".join(report.failures)
            manifest.write_json_atomic(part / PACK_FILE, raw)
        final = resolve_pack(str(part))
    first_use.write(final, first_use.Record(report.outcome, report.evidence, report.failures, plan.accept))
    return report


def _refuse_other(folder: Path, files: Sequence[Path]) -> None:
    """Before minutes of testing: a folder that holds anything but a pack of these networks is an error."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    there = folder / PACK_FILE
    known = set(read_pack_file(folder)["files"].values()) if there.is_file() else set()
    if not all(file.is_file() and manifest.sha256_file(file) in known for file in files):
        raise InputError(
            "there is something of this name already",
            where=folder,
            got="a pack of other networks" if there.is_file() else "other files",
            needed="a new folder",
            remedy="Choose another name.",
        )


def test(name: str, people: Path | None, *, accept: bool = False) -> Report:
    """Run the sanity test of a pack again and remember its outcome; without people on its gallery."""
    pack = resolve_pack(name)
    if people is None:
        report = _quick(pack, accept)
    else:
        looked = _usable(look_at_people(people, lambda role: open_untested(pack, role)))
        report = _on_people(pack, looked, people, accept)
    record = first_use.Record(report.outcome, report.evidence, report.failures, accept)
    first_use.write(pack, record)
    return report


def _quick(pack: FacePack, accept: bool) -> Report:
    record = first_use.quick_test(pack)
    notes: tuple[str, ...] = ()
    if pack.impostors is None:
        notes = (
            "so few faces show only whether everybody passes for one person, not a wrong mean or colours in "
            "the wrong order; --people FOLDER does",
        )
    return Report(pack.name, record.outcome, record.evidence, record.failures, accept, notes=notes)


def _on_people(pack: FacePack, looked: People, folder: Path, accept: bool) -> Report:
    limits: dict[Role, float] = {role: pack.threshold(role) for role in ROLES}
    tested = tuple(sanity.judge(pack, looked, thresholds=limits))
    failures = tuple(f"{t.embedder_id} {f}" for t in tested for f in t.failures)
    evidence = f"{len(set(looked.labels))} people in {folder.name}"
    outcome: first_use.Outcome = "failed" if failures else "passed"
    return Report(pack.name, outcome, evidence, failures, accept, tested, looked.left_out)


def _usable(looked: People) -> People:
    """Without pictures of somebody else, unless there seem to be too many of them."""
    cleaned = without_mistakes(looked) if looked.seen else looked
    return cleaned if len(cleaned.seen) >= (1 - _MOST_MISTAKES) * len(looked.seen) else looked


def _with_thresholds(
    raw: Mapping[str, Any], pack: FacePack, networks: Mapping[Role, Network], looked: People, folder: Path
) -> dict[str, Any]:
    """pack.json with the thresholds that the people give, or those that were stated."""
    derived, reason = derive(pack, looked) if looked.seen else ({}, "no usable pictures")
    missing = [role for role, n in networks.items() if n.threshold is None and role not in derived]
    if missing:
        raise InputError(
            f"no threshold is known for the {missing[0]} embedder",
            where=folder,
            got=reason,
            remedy=f"Use more people, or state the maker's with --{missing[0]}-threshold.",
        )
    changed = dict(raw)
    changed["derived"] = {pack.embedder_ids[role]: asdict(one) for role, one in derived.items()}
    changed["thresholds"] = {
        pack.embedder_ids[role]: derived[role].similarity if n.threshold is None else n.threshold
        for role, n in networks.items()
    }
    return changed


def _described(plan: Plan, networks: Mapping[Role, Network], backend: str, part: Path) -> dict[str, Any]:
    """Copy the files and describe them; embedders lie in heads/, where insightface does not look."""
    ids = _ids(networks)
    models: dict[str, str] = {"detector": "det.onnx"}
    copies = {plan.detector: "det.onnx"}
    if plan.landmarks is not None:
        models["landmarks"] = copies[plan.landmarks] = "landmarks.onnx"
    for role, network in networks.items():
        models[f"embedder_{role}"] = copies[network.file] = f"{HEADS}/{role}.onnx"
    if len(copies) < len(models):
        files = [str(plan.detector), *(str(n.file) for n in networks.values())]
        raise InputError("one file is given for two networks", got=", ".join(files))
    (part / HEADS).mkdir()
    for source, name in copies.items():
        shutil.copyfile(source, part / name)
    return {
        "format": FORMAT,
        "name": plan.name,
        "synthetic": False,
        "licence": plan.licence,
        "commercial": plan.commercial,
        "backend": backend,
        "models": models,
        "embedder_ids": dict(ids),
        "preprocessing": {ids[role]: n.preprocessing.to_json() for role, n in networks.items()},
        "files": {name: manifest.sha256_file(part / name) for name in copies.values()},
        "det_size_px": 640,
        "det_thresh": _THRESHOLDS[backend],
        "false_match_rate": _RATE,
        "thresholds": {
            ids[role]: _PLACEHOLDER if n.threshold is None else n.threshold for role, n in networks.items()
        },
        "threshold_notes": {
            ids[role]: "stated by whoever made the pack"
            for role, n in networks.items()
            if n.threshold is not None
        },
        "calibrated": False,
    }


def _ids(networks: Mapping[Role, Network]) -> dict[Role, str]:
    """The names of the embedders in reports: given, else the file's with the start of its sha256."""
    return {role: n.id or f"{n.file.stem}-{manifest.sha256_file(n.file)[:8]}" for role, n in networks.items()}


def parse_preprocessing(words: str) -> Preprocessing:
    """`side=112 colour=RGB mean=127.5 std=127.5 template=arcface`, each of them optional.

    mean and std: one number or three with commas; template: ten numbers with commas, x and y of both eyes,
    nose and mouth corners in the input.  Raises `InputError`.
    """
    values = {"side": "112", "colour": "RGB", "mean": "127.5", "std": "127.5", "template": "arcface"}
    try:
        for word in words.split():
            key, _, value = word.partition("=")
            if key not in values:
                raise ValueError(f"{key!r} is not one of {', '.join(values)}")
            values[key] = value
        side, colour = int(values["side"]), values["colour"]
        if colour not in ("RGB", "BGR") or not 0 < side <= 1024:
            raise ValueError("colour is RGB or BGR, side 1 to 1024")
        mean, std = _numbers(values["mean"], (1, 3)), _numbers(values["std"], (1, 3))
        if min(std) <= 0:
            raise ValueError("std is above 0")
        named = values["template"] == "arcface"
        flat = () if named else _numbers(values["template"], (10,))
    except ValueError as error:
        needed = "side=112 colour=RGB mean=127.5 std=127.5 template=arcface"
        raise InputError("not a preprocessing", got=f"{words}: {error}", needed=needed) from error
    points = scaled(side) if named else tuple(zip(flat[::2], flat[1::2], strict=True))
    three = [same(v[0]) if len(v) == 1 else (v[0], v[1], v[2]) for v in (mean, std)]
    return Preprocessing(side, "RGB" if colour == "RGB" else "BGR", three[0], three[1], points, named)


def _numbers(text: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    numbers = tuple(float(v) for v in text.split(","))
    if len(numbers) not in counts or not all(abs(v) < 1e6 for v in numbers):
        raise ValueError(f"{text!r} is not {' or '.join(map(str, counts))} numbers")
    return numbers


def show(name: str) -> list[str]:
    """A pack in words: networks, preprocessing, thresholds and their provenance, the last test."""
    pack = resolve_pack(name, quiet=True)
    record = None if pack.synthetic else first_use.read(pack)
    lines = [
        f"{pack.name}: {pack.backend}, licence {pack.licence}, commercial use {pack.commercial}",
        f"  digest    {pack.digest}",
        f"  detector  {pack.detector}, score from {pack.det_thresh:g}, at {pack.det_size_px} px",
        f"  landmarks {pack.landmarks or 'none'}",
    ]
    for role in ROLES:
        one, derived = pack.embedder_ids[role], pack.derived.get(pack.embedder_ids[role])
        stated = pack.stated(role)
        source = "calibrated by the pack's maker" if pack.calibrated else "stated, not calibrated here"
        if derived:
            source = f"derived from {derived.people} people, {derived.impostor_comparisons} comparisons"
        lines += [
            f"  {role:<9} {one} ({pack.embedder(role)}): "
            f"{stated.sentence if stated else 'preprocessing guessed from the graph by the backend'}",
            f"            same person from {pack.threshold(role):.4f}, {source}",
        ]
    gallery = pack.impostors or "none; portrait-lora gallery PACK --people FOLDER makes one"
    lines.append(f"  gallery   {gallery}")
    tested = "exempt: synthetic" if pack.synthetic else "not yet" if record is None else ""
    if record is not None:
        tested = f"{record.outcome}, on {record.evidence}" + (", accepted" if record.accepted else "")
    return [*lines, f"  tested    {tested}", *([f"  accepted  {pack.accepted}"] if pack.accepted else [])]
