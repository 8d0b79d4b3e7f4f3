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
    ("text", "said"),
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
def test_errors_name_file_line_and_remedy(tmp_path: Path, text: str, said: tuple[str, ...]):
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, text))
    assert caught.value.exit_code == EXIT_BAD_INPUT
    for part in said:
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
