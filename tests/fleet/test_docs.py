"""The files that docs/fleet.md shows, held against the schemas of those who read them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from portrait_lora.fleet.job_files import Machines, files_for

PAGE = (Path(__file__).parents[2] / "docs/fleet.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def test_the_ray_cluster_file() -> None:
    ray = pytest.importorskip("ray")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    cluster: dict[str, Any] = next(
        one for text in blocks("yaml") if "cluster_name" in (one := yaml.safe_load(text))
    )
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "max_worker": 3}, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    starts = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    assert all("RAY_USAGE_STATS_ENABLED=0" in line for line in starts if "ray start" in line)


def test_the_slurm_file_is_the_one_that_is_written() -> None:
    text = files_for("slurm", "people", "/data/people-fleet", Machines(8, partition="gpu"))["people.slurm"]
    lines = [line for line in text.splitlines() if line and (line[:2] in ("#!", "#S") or line[0] != "#")]
    assert lines == next(one for one in blocks("text") if one.startswith("#!")).splitlines()


def test_the_roster_in_yaml(tmp_path: Path) -> None:
    from portrait_lora.fleet import roster

    text = next(one for one in blocks("yaml") if "acceptance" in one)
    table = next(one for one in blocks("text") if one.startswith("name,photos"))
    (tmp_path / "people.csv").write_text(table)
    (tmp_path / "people.yaml").write_text(text.replace("brand: acme.yaml\n", ""))
    listed = roster.read(tmp_path / "people.yaml")
    assert [one.name for one in listed.entries] == ["Anna Lee", "Bob Ray"] and listed.price_per_hour == 2.4
