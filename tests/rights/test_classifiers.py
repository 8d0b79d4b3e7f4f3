"""The guard's networks: tiny ones of the published architectures, and nothing is drawn without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from portrait_lora.errors import ArtifactError, ConfigError, PortraitError
from portrait_lora.generation import sample, save
from portrait_lora.generation.drawing import Sampler
from portrait_lora.generation.guidance import AS_ONE
from portrait_lora.hub.hub import Hub
from portrait_lora.records import Shot
from portrait_lora.rights import classifiers, guard, guard_models, policy
from portrait_lora.rights.policy import Classifier, Guarding
from portrait_lora.tasks import pull_guard
from tests.local_hub import LocalHub, serving

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "zorp", "a", "portrait", "of", "her"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT that is sure of `nsfw` (column 1) where one of the tokens that it sees is zorp."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, DistilBertTokenizerFast

    folder = tmp_path_factory.mktemp("texts")
    config = DistilBertConfig(
        vocab_size=len(WORDS), dim=16, n_layers=1, n_heads=1, hidden_dim=16, max_position_embeddings=16,
        id2label={0: "safe", 1: "nsfw"}, label2id={"safe": 0, "nsfw": 1}, seq_classif_dropout=0.0,
    )  # fmt: skip
    model = DistilBertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        body = model.distilbert
        words = body.embeddings.word_embeddings.weight
        words[:, 1] = 5.0
        words[5] = torch.eye(16)[0] * 5
        layer = body.transformer.layer[0]
        for norm in (body.embeddings.LayerNorm, layer.sa_layer_norm, layer.output_layer_norm):
            norm.weight.fill_(1.0)
        for linear in (layer.attention.v_lin, layer.attention.out_lin):
            linear.weight.copy_(torch.eye(16))
        model.pre_classifier.weight[0, 0], model.pre_classifier.weight[0, 2] = 100.0, -100.0
        model.classifier.weight[1, 0] = 1.0
        model.classifier.bias.copy_(torch.tensor([3.0, 0.0]))
    model.save_pretrained(folder, safe_serialization=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS))
    DistilBertTokenizerFast(str(vocabulary), model_max_length=16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ViT whose head says: three to one for `nsfw`, here column 0."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    folder = tmp_path_factory.mktemp("pictures")
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32,
        patch_size=16, id2label={0: "nsfw", 1: "normal"}, label2id={"nsfw": 0, "normal": 1},
    )  # fmt: skip
    model = ViTForImageClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([np.log(3.0), 0.0]))
    model.save_pretrained(folder, safe_serialization=True)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Path]:
    """Writes the guard's part of the policy; gives the log of refusals."""
    for name in ("STATE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(policy, "OF_MACHINE", tmp_path / "none.yaml")
    place = tmp_path / "config" / "portrait_lora" / "policy.yaml"

    def write(rules: dict[str, Any]) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"guard": rules}))
        return guard.log_file()

    return write


def test_a_word_that_no_list_knows_is_refused_wherever_it_stands(texts: Path) -> None:
    rule = Classifier(model=str(texts), labels=("NSFW",), threshold=0.5)
    rules = Guarding(text_classifier=rule)
    assert guard.check("a portrait of her", rules) is None
    assert guard.check("a zorp portrait", Guarding()) is None, "the lists do not know it"
    match = guard.check("a zorp portrait", rules)
    assert match and match.topic == "sexual" and str(texts) in match.words
    long = "a portrait of her " * 30
    assert guard.check(long, rules) is None
    assert guard.check(f"{long} zorp", rules), "behind what the network reads at once"
    assert guard.check(f"{'a ' * 13} zorp {long}", rules), "and where pieces meet"


def test_what_is_allowed_of_adults_is_never_drawn_of_minors(texts: Path) -> None:
    rule = Classifier(model=str(texts), labels=("nsfw",))
    rules = Guarding(text_classifier=rule, allow=("sexual",))
    assert guard.check("a zorp portrait", rules) is None
    for words in ("a zorp portrait", "a nude portrait"):
        match = guard.check(words, rules, guardian=True, of_minor=True)
        assert match and match.topic == "minors", "the likeness is that of a minor"
    assert guard.check("a portrait of her", rules, guardian=True, of_minor=True) is None
    both = guard.check("a zorp portrait of a 12 year old", rules, guardian=True)
    assert both and both.topic == "minors"


def test_thresholds_labels_and_numbers_that_are_none(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGBA", (40, 60), (90, 60, 30, 9))

    def judged(threshold: float, label: str = "nsfw") -> classifiers.Judgement:
        rule = Classifier(model=str(pictures), labels=(label,), threshold=threshold)
        return classifiers.judge_picture(rule, picture)

    assert judged(0.5).score == pytest.approx(0.75) and judged(0.5).refused
    assert not judged(0.8).refused and not judged(0.5, "normal").refused
    assert judged(0.2, "normal").score == pytest.approx(0.25)
    monkeypatch.setattr(classifiers._Network, "score", lambda *_: float("nan"))
    assert judged(0.9).refused


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"model": "nsfw-pictures"}, "portrait-lora pull nsfw-pictures"),
        ({"model": "nsfw-text"}, "reads text"),
        ({"model": "relative/folder"}, "whole path"),
        ({"model": "/nowhere", "labels": ["nsfw"]}, "nothing is drawn without it"),
        ({"model": "PICTURES"}, "of its labels are refused"),
        ({"model": "PICTURES", "labels": ["gore"]}, "no such label"),
        ({"model": "TEXTS", "labels": ["nsfw"]}, "cannot be read"),
    ],
)
def test_what_cannot_check_keeps_everything_from_being_drawn(
    account: Callable[[dict[str, Any]], Path], texts: Path, pictures: Path, rule: dict[str, Any], words: str
) -> None:
    named = {"PICTURES": str(pictures), "TEXTS": str(texts)}
    account({"picture_checker": rule | {"model": named.get(rule["model"], rule["model"])}})
    with pytest.raises((ConfigError, ArtifactError)) as refused:
        guard.require(["a portrait of her"])
    assert words in refused.value.message()
    with pytest.raises((ConfigError, ArtifactError)):
        guard.require_picture(Image.new("RGB", (32, 32)), "a.png")


def test_pulled_at_a_pinned_commit_and_every_byte_compared_at_use(
    account: Callable[[dict[str, Any]], Path], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = guard_models.CATALOGUE["nsfw-pictures"]
    held = {name: (pictures / name).read_bytes() for name in known.files}
    hub = LocalHub({known.repo: held | {"pytorch_model.bin": b"pickle" * 999}})
    pinned = SimpleNamespace(**{f: getattr(known, f) for f in known.__dataclass_fields__})
    pinned.commit = hub.commit(known.repo)
    with serving(hub):
        client = Hub(hub.address, tmp_path / "cache", wait_s=0.0)
        (locked,) = pull_guard.install(pinned, client)  # type: ignore[arg-type]
        pinned.commit = "0" * 40
        with pytest.raises(PortraitError):
            pull_guard.install(pinned, client)  # type: ignore[arg-type]
    folder = guard_models.installed(known)
    assert folder and set(locked.files) == set(known.files)
    assert not list(folder.glob("*.bin"))
    account({"picture_checker": {"model": "nsfw-pictures"}})
    guard.require(["a portrait of her"])
    (folder / guard_models.WEIGHTS).write_bytes(b"others")
    classifiers._opened.cache_clear()
    with pytest.raises(ArtifactError, match="not the one that was fetched"):
        guard.require(["a portrait of her"])


def test_a_refused_picture_is_not_written_and_the_series_goes_on(
    account: Callable[[dict[str, Any]], Path], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = account({"picture_checker": {"model": str(pictures), "labels": ["nsfw"]}})
    score = classifiers._Network.score
    bright = lambda self, inputs: score(self, inputs) if inputs["pixel_values"].mean() > 0 else 0.0  # noqa: E731
    monkeypatch.setattr(classifiers._Network, "score", bright)
    shots = [
        Shot(name=name, prompt=f"secret {name}", negative_prompt="", layers=(), size_px=(64, 64), seed=1)
        for name in ("one", "two", "three")
    ]
    shades = {"one": 10, "two": 250, "three": 20}
    monkeypatch.setattr(sample, "open_pipeline", lambda *_: None)
    monkeypatch.setattr(
        sample,
        "from_text",
        lambda pipe, batch, *_, **__: [Image.new("RGB", (64, 64), (shades[s.name],) * 3) for s in batch],
    )
    base = SimpleNamespace(label="tiny", digest="0", family="sd15")
    family: Any = SimpleNamespace(base=base, device=torch.device("cpu"), multiple_px=8)
    sampler = Sampler(
        steps=1, guidance_scale=1.0, adapter_scale=0.0, scheduler="", unconditional="adapter", identity=AS_ONE
    )
    refused: list[str] = []
    done = sample.generate(family, None, shots, tmp_path / "series", sampler, refused=refused)
    assert [p.shot.name for p in done] == ["one", "three"] and refused == ["two"]
    assert sorted(p.name for p in (tmp_path / "series").iterdir()) == [
        *("one.json", "one.png", "three.json", "three.png")
    ]
    (row,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert row["topic"] == "sexual" and "0.75" in row["words"] and len(row["picture_sha256"]) == 12
    assert "secret" not in log.read_text()
    with pytest.raises(guard.RefusedPicture):
        sample.generate(family, None, shots, tmp_path / "probes", sampler)
    with pytest.raises(guard.RefusedPicture):
        save.write(Image.new("RGB", (64, 64), "white"), tmp_path / "edit.png", {"seed": 1})
    assert not (tmp_path / "edit.png").exists()
