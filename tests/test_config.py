import json
from pathlib import Path

import pytest
import yaml

from portrait_lora import config
from portrait_lora.errors import EXIT_BAD_INPUT, ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "likeness.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(config.configs_dir().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_base_yaml_resolves(path: Path):
    resolved = config.load(None, [f"base={path.stem}"])
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert resolved.base == own["base"] == path.stem
    assert resolved.training.rank == own["training"]["rank"]


def test_merge_order(tmp_path: Path):
    file = write(tmp_path, "base: sd15\ntraining:\n  rank: 8\n  batch_size: 2\n")
    resolved = config.load(file, ["training.rank=32"])
    assert resolved.training.rank == 32  # the override beats the file
    assert resolved.training.batch_size == 2  # the file beats the base's YAML
    assert resolved.generate.guidance_scale == 7.0  # the base's YAML beats the schema


def test_an_override_can_change_the_base(tmp_path: Path):
    assert config.load(write(tmp_path, "seed: 1\n"), ["base=sd15"]).training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed: 1\ntraining:\n  rnk: 3\n", ("likeness.yaml:3", "training.rnk", "Did you mean 'rank'?")),
        ("basee: embedded\n", ("likeness.yaml:1", "Did you mean 'base'?")),
        ("training:\n  rank: abc\n", ("likeness.yaml:2", "training.rank", "'abc'", "integer")),
        ("training: 7\n", ("likeness.yaml:1", "training", "7")),
        ("training:\n  caption_dropout: 2.0\n", ("likeness.yaml:2", "less than or equal to 1")),
        ("- a\n- b\n", ("likeness.yaml", "got list")),
        ("a: [1\n", ("likeness.yaml:2", "not valid YAML")),
    ],
)
def test_errors_name_file_line_and_remedy(tmp_path: Path, text: str, parts: tuple[str, ...]):
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, text))
    assert caught.value.exit_code == EXIT_BAD_INPUT
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("pair", ["training.rank", "=3", "training.rank=[", "training.ranks=3", "nope.x=1"])
def test_bad_overrides(pair: str):
    with pytest.raises(ConfigError, match="-s"):
        config.load(None, [pair])


def test_missing_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read"):
        config.load(tmp_path / "absent.yaml")


def test_dump_reads_back(tmp_path: Path):
    resolved = config.load(None, ["seed=7", "subject.name='Ann: 100 %'"])
    assert config.load(write(tmp_path, config.dump(resolved))) == resolved


def test_the_schema_beside_the_yaml_files_is_current():
    written = json.loads((config.configs_dir() / "likeness.schema.json").read_text(encoding="utf-8"))
    assert written == config.LikenessConfig.model_json_schema()


@pytest.mark.parametrize("value", ["yes", "true", "3:4", "'a'", ".inf", "2024-02-30", "[8]"])
def test_what_is_no_number_is_refused_for_one(tmp_path: Path, value: str):
    for key in ("rank", "learning_rate"):
        with pytest.raises(ConfigError, match=r"likeness\.yaml:2"):
            config.load(write(tmp_path, f"training:\n  {key}: {value}\n"))
        with pytest.raises(ConfigError, match="-s"):
            config.load(None, [f"training.{key}={value}"])


def test_infinity_is_no_rate_wherever_it_comes_from():
    for value in (float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="finite"):
            config.load(None, defaults={"training": {"learning_rate": value}})


@pytest.mark.parametrize("word", ["007", "No", "2024", "1.10", "0x10", "1e3", "2024-02-30", "3:4", "null"])
def test_text_is_kept_as_it_was_written(tmp_path: Path, word: str):
    quoted = f"'{word}'" if word == "null" else word
    file = write(
        tmp_path, f"subject:\n  name: {quoted}\n  trigger: {quoted}\ntraining:\n  blocks: [{quoted}]\n"
    )
    resolved = config.load(file)
    assert resolved.subject.name == resolved.subject.trigger == resolved.training.blocks[0] == word
    assert config.load(None, [f"subject.trigger={quoted}"]).subject.trigger == word
    assert config.load(write(tmp_path, config.dump(resolved))) == resolved


def test_numbers_carry_no_memory_into_artifacts(tmp_path: Path):
    resolved = config.load(write(tmp_path, "seed: 0x10\ntraining:\n  alpha: 16.50\n  rank: 8\n"))
    assert type(resolved.seed) is int and resolved.seed == 16
    assert type(resolved.training.alpha) is float and type(resolved.training.rank) is int


def test_a_truth_value_is_no_text_and_words_of_yaml_1_1_choose(tmp_path: Path):
    with pytest.raises(ConfigError, match="in quotes"):
        config.load(write(tmp_path, "subject:\n  name: true\n"))
    assert config.load(None, ["mixed_precision=no"]).mixed_precision == "no"
    assert config.load(None, ["dataset.aspects=[3:4, 1:1]"]).dataset.aspects == ("3:4", "1:1")


@pytest.mark.parametrize(
    "text", ["training:\n", "training:\n  # rank: 3\n", "dataset:\n  check:\n", "training: {}\n"]
)
def test_a_section_without_keys_is_an_empty_one(tmp_path: Path, text: str):
    assert config.load(write(tmp_path, text), ["base=sd15"]) == config.load(None, ["base=sd15"])


def test_a_section_twice_is_an_error_with_both_lines(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"likeness\.yaml:3.*'training' stands twice: got lines 1 and 3"):
        config.load(write(tmp_path, "training:\n  rank: 8\ntraining:\n  alpha: 8\n"))


OWN = (
    (),
    ("training.rank=8", "subject.name='Anna: B #x'", "generate.series='no'", "training.blocks=[a, '1e3']"),
    ("face_pack=auraface", "dataset.captions.captioner=sidecar", "generate.price_per_hour=0.5", "seed=7"),
)


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("base", ["embedded", "sdxl", "models/mine"])
def test_the_short_file_is_read_as_the_same_configuration(
    base: str, own: tuple[str, ...], tmp_path: Path
) -> None:
    settled = config.load(None, [f"base={base}", *own])
    file = write(tmp_path, config.short(settled, tmp_path))
    assert config.load(file) == settled
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 22, "what is as usual stays out"
    assert f"portrait-lora config show {tmp_path}" in lines[0]
    assert f"base: {base}  # name from" in "\n".join(lines)
    assert any(line.startswith("  trigger: ohwx  # ") for line in lines)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "../sd15", ".", "sd15/../sd15"])
def test_a_base_of_whatever_name_is_looked_for_among_the_packaged_ones_only(name: str):
    assert config.base_defaults(name) == {}
    assert config.base_defaults("sd15")


def test_a_photo_cannot_be_both_people():
    resolved = config.load(
        None, ["dataset.curate.same_person=[a.jpg, b c.jpg]", "dataset.curate.other_person=[d.jpg]"]
    )
    assert resolved.dataset.curate.same_person == ("a.jpg", "b c.jpg")
    with pytest.raises(ConfigError, match=r"a.jpg: in same_person and in other_person"):
        config.load(None, ["dataset.curate.same_person=[a.jpg]", "dataset.curate.other_person=[a.jpg]"])
