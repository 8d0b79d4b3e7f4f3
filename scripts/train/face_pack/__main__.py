"""Train the embedded face pack on the corpus of `render_corpus.py` and write it into the package.

python -m scripts.train.face_pack all --corpus work/corpus --later work/corpus_wider --kin work/corpus_kin \\
    --work work/face_pack

Stages: detector, landmarks, embedder-a, embedder-b, attributes, segmenter (each resumable), then pack
(heads, ONNX, calibration).
`all` runs them one after another; two single-thread stages can also run side by side, from two shells.
`renew` puts newly trained landmarks, attributes and segmenter into a finished pack and keeps its calibration;
`recognisers` puts newly trained embedders into it, keeps everything else, and calibrates anew.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

if __name__ == "__main__":  # read by the libraries while they are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import typer  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from portrait_lora import manifest  # noqa: E402
from portrait_lora.faces import resolve_pack  # noqa: E402
from scripts.train.checkpoint import averaged  # noqa: E402
from scripts.train.corpus import Corpus  # noqa: E402
from scripts.train.face_pack import attributes, calibrate, card, export, heads, segmenter, stages  # noqa: E402
from scripts.train.face_pack.data import load_pool, split  # noqa: E402
from scripts.train.face_pack.embedders import train_embedder_a, train_embedder_b  # noqa: E402
from scripts.train.face_pack.training import Length  # noqa: E402
from scripts.train.loop import pick_device  # noqa: E402
from scripts.train.memory import keep_memory  # noqa: E402

PACK_FOLDER = ROOT / "portrait_lora" / "assets" / "face_pack"
DET_SIZE_PX = 256
DET_THRESH = 0.5
FIGURES: Final = "figures.json"
EMBEDDERS: Final = {"embedder-a": train_embedder_a, "embedder-b": train_embedder_b}


def build_pack(corpus: Path, work: Path, out: Path, people: int, later: Path | None) -> None:
    """Fit the heads, export the networks, calibrate through the pack itself, seal it."""
    out.mkdir(parents=True, exist_ok=True)
    facts, figures = pack_facts(corpus, work, later)
    export.export_nets(work, out)
    seal(out, facts, figures | taught(work) | calibrated(out, facts, people))


def calibrated(out: Path, facts: dict[str, Any], people: int) -> dict[str, Any]:
    """Thresholds, true matches and the gallery of strangers, seen through the networks that lie in `out`."""
    (out / export.IMPOSTORS).unlink(missing_ok=True)
    export.write_pack(out, facts)
    pack = resolve_pack(str(out))
    views = calibrate.HOLDOUT + calibrate.PORTRAITS
    shown = calibrate.show(pack, calibrate.FIRST_SEED, people, views)
    limits = {
        export.EMBEDDER_IDS["select"]: calibrate.threshold(shown.select),
        export.EMBEDDER_IDS["report"]: calibrate.threshold(shown.report),
    }
    print("calibration:", json.dumps(limits), f"found {shown.face_rate:.4f}", flush=True)
    save_file(calibrate.gallery(pack), str(out / export.IMPOSTORS))
    (out / export.IMPOSTORS).chmod(0o644)
    return {"calibration": limits, "found": shown.face_rate, "people": people}


def taught(work: Path) -> dict[str, Any]:
    """How many people the embedders learnt to distinguish: A's margin has a centre for each of its half."""
    return {"embedder_people": 2 * len(averaged(work, "embedder-a", "margin.")["weight"])}


def recognise(work: Path, out: Path, people: int) -> None:
    """Put newer embedders into a finished pack; the other networks, their heads and figures stay."""
    known = json.loads((out / "pack.json").read_text(encoding="utf-8"))
    facts = {k: v for k, v in known.items() if k not in export.OWN_FIELDS}
    figures = json.loads((out / FIGURES).read_text(encoding="utf-8"))
    for name in ("embedder-a", "embedder-b"):
        export.export_net(name, stages.trained(work, name), out / export.FILES[name])
    seal(out, facts, figures | taught(work) | calibrated(out, facts, people))


def renew(corpus: Path, work: Path, out: Path, later: Path | None) -> None:
    """Put newer networks that are not calibrated, and heads, into a finished pack; detector, embedders and
    calibration stay."""
    facts, figures = pack_facts(corpus, work, later)
    figures = json.loads((out / FIGURES).read_text(encoding="utf-8")) | figures
    for name in ("landmarks", attributes.NAME, segmenter.NAME):
        export.export_net(name, stages.trained(work, name), out / export.FILES[name])
    seal(out, facts, figures)


def pack_facts(corpus: Path, work: Path, later: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of pack.json that are known before the calibration, and figures for the card."""
    pool = load_pool(corpus)
    fitted, figures = heads.fit_heads(work, pool)
    figures |= attributes.accuracy(stages.trained(work, attributes.NAME), split(pool)[1])
    figures |= {"segmenter": stages.segmenter_figures(pool, work)}
    print("heads:", figures, flush=True)
    facts = {
        "det_size_px": DET_SIZE_PX,
        "det_thresh": DET_THRESH,
        "false_match_rate": calibrate.FALSE_MATCH_RATE,
        "thresholds": dict.fromkeys(export.EMBEDDER_IDS.values(), 1.0),
        **{k: v.to_json() for k, v in fitted.items()},
    }
    return facts, {"heads": figures, "later_pictures": len(Corpus(later)) if later else 0}


def seal(out: Path, facts: dict[str, Any], figures: dict[str, Any]) -> None:
    """Write pack.json with the thresholds, the figures and the card; the result must verify."""
    facts["thresholds"] = {k: v["threshold"] for k, v in figures["calibration"].items()}
    export.write_pack(out, facts)
    manifest.write_json_atomic(out / FIGURES, figures)
    card.write_card(out, figures)
    resolve_pack(str(out))


def main(
    stage: Annotated[str, typer.Argument(help="a stage, pack, renew, recognisers or all")],
    corpus: Annotated[Path, typer.Option(help="folder of the shards")] = Path("work/corpus"),
    work: Annotated[Path, typer.Option(help="folder of checkpoints")] = Path("work/face_pack"),
    out: Annotated[Path, typer.Option(help="folder of the pack")] = PACK_FOLDER,
    minutes: Annotated[
        float | None, typer.Option(help="CPU minutes of the stage, or minutes on a GPU")
    ] = None,
    people: Annotated[int, typer.Option(help="people of the calibration")] = 200,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 1,
    later: Annotated[
        Path | None, typer.Option(help="shards of the second edition: sunglasses, for the attributes")
    ] = None,
    kin: Annotated[Path | None, typer.Option(help="shards of relatives, for the embedders")] = None,
    start: Annotated[
        Path | None, typer.Option(help="embedders go on from those in this folder of checkpoints")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda or auto; attributes and segmenter stay on the CPU")
    ] = "cpu",
) -> None:
    """Run one stage, or all of them."""
    torch.set_num_threads(threads)
    keep_memory()
    known = [*stages.TRAINERS, "pack"]
    if stage == "renew":
        renew(corpus, work, out, later)
        return
    if stage == "recognisers":
        recognise(work, out, people)
        return
    if stage not in [*known, "all"]:
        raise typer.BadParameter(f"stage is one of {', '.join(known)}, all; got {stage}")
    wanted = known if stage == "all" else [stage]
    for name in wanted:
        if name == "pack":
            build_pack(corpus, work, out, people, later)
            continue
        if name == segmenter.NAME:
            segmenter.label_corpus(corpus, work)
        pool = load_pool(corpus)
        print(f"{name}: {len(pool)} pictures of {pool.people} people", flush=True)
        length = Length(minutes or stages.MINUTES[name], pick_device(device), start)
        if name == attributes.NAME and later:
            stages.train_attributes(pool, work, length, load_pool(later))
        elif name in EMBEDDERS and kin:
            EMBEDDERS[name](pool, work, length, load_pool(kin))
        else:
            stages.TRAINERS[name](pool, work, length)


if __name__ == "__main__":
    typer.run(main)
