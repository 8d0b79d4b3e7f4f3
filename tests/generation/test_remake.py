"""Pictures reproduced bit for bit; edits that leave the rest alone; recipes that other tools read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import drawing, edits, masks, remake, save
from portrait_lora.generation.drawing import StyleAdapter
from portrait_lora.generation.sample import conditions, generate
from portrait_lora.records import Adapter, Shot
from portrait_lora.tasks import finished
from tests.recipes import sampler as make_sampler

SAMPLER = make_sampler(2, 2.0)


def _none(digest: str) -> None:
    return None


def _read(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


@pytest.mark.parametrize("batch_size", [1, 2])
def test_reproduced_bit_for_bit(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path, batch_size: int
) -> None:
    portraits = generate(tiny_sd15, adapter, shots, tmp_path, SAMPLER, batch_size=batch_size)
    for portrait in portraits:
        recipe = provenance.read_record(portrait.path)
        again = remake.remake(tiny_sd15, recipe, adapter, _none)
        verdict = remake.compare(_read(portrait.path), again, recipe)
        assert verdict.same and verdict.psnr_db is None and verdict.changed_pixels == 0
    sizes = [provenance.read_record(p.path)["made"]["batch_size"] for p in portraits]  # type: ignore[index]
    assert sizes == ([1] * 3 if batch_size == 1 else [2, 2, 1])


def test_a_difference_is_measured_and_explained(tiny_sd15: SD15, shots: list[Shot], tmp_path: Path) -> None:
    path = generate(tiny_sd15, None, shots[:1], tmp_path, SAMPLER)[0].path
    recipe = provenance.read_record(path)
    picture = _read(path)
    touched = picture.copy()
    touched.putpixel((3, 3), (255, 0, 255))
    recipe["made"]["versions"]["torch"] = "1.0"  # type: ignore[index]
    verdict = remake.compare(touched, picture, recipe)
    assert not verdict.same and verdict.changed_pixels == 1 and verdict.psnr_db is not None
    assert any("torch 1.0 then" in line for line in verdict.differences)


def test_another_base_and_a_damaged_recipe_are_refused(
    tiny_sd15: SD15, shots: list[Shot], tmp_path: Path
) -> None:
    path = generate(tiny_sd15, None, shots[:1], tmp_path, SAMPLER)[0].path
    recipe = provenance.read_record(path)
    with pytest.raises(ArtifactError, match="another base"):
        remake.remake(tiny_sd15, recipe | {"base_digest": "0" * 64}, None, _none)
    for key in ("size_px", "seed", "layers", "guidance_scale"):
        with pytest.raises(ArtifactError, match="damaged"):
            remake.remake(tiny_sd15, {k: v for k, v in recipe.items() if k != key}, None, _none)


def _fixed(
    family: SD15, adapter: Adapter, source: Image.Image, base: save.Record, seed: int
) -> tuple[Image.Image, save.Record, np.ndarray]:
    mask = np.zeros((64, 64), np.uint8)
    mask[20:34, 10 + seed : 40 + seed] = 255
    settings = {"seed": seed, "strength": 0.6, "region": "eyes", "mask_png": masks.encode_mask(mask)}
    recipe = edits.edit_record("fix", source, base, base, **settings)
    pipe = drawing.open_pipeline(family, adapter, edits.sampler_of(base))
    return edits.apply_edit(pipe, source, recipe, 64), recipe, mask


def test_a_fix_changes_nothing_outside_its_mask_and_is_reproducible(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    path = generate(tiny_sd15, adapter, shots[:1], tmp_path, SAMPLER)[0].path
    base, source = provenance.read_record(path), _read(path)
    for seed in range(5):
        fixed, recipe, mask = _fixed(tiny_sd15, adapter, source, base, seed)
        changed = (np.asarray(fixed) != np.asarray(source)).any(-1)
        assert changed[mask > 0].any() and not changed[mask == 0].any()
    complete = recipe | {save.CONDITIONS: conditions(tiny_sd15, 1, 0)}
    again = remake.remake(tiny_sd15, complete, adapter, _none)
    assert remake.compare(fixed, again, complete).same
    save.write(fixed, tmp_path / "fixed.png", complete)
    history = json.loads((tmp_path / "fixed.json").read_text())["history"]
    assert [step["action"] for step in history] == ["generate", "fix"]
    assert history[1]["region"] == "eyes" and "parent" not in history[1]
    assert provenance.source_type(tmp_path / "fixed.png") == "trainedAlgorithmicMedia"


def test_a_variation_keeps_the_composition_as_its_strength_says(tmp_path: Path) -> None:
    """On the embedded base: what random weights draw has no composition."""
    family = open_family(resolve_base("embedded"))
    shot = Shot("one", "frontal headshot of a woman, grey seamless backdrop", "", (128, 128), 3, ())
    path = generate(family, None, [shot], tmp_path, make_sampler(6, 2.0))[0].path
    base, source = provenance.read_record(path), _read(path)
    pipe = drawing.open_pipeline(family, None, edits.sampler_of(base))
    away = []
    for strength in (0.2, 0.9):
        recipe = edits.edit_record("vary", source, base, base, seed=5, strength=strength)
        varied = edits.apply_edit(pipe, source, recipe, 128)
        away.append(float(np.abs(np.asarray(varied, float) - np.asarray(source, float)).mean()))
    assert 1.5 * away[0] < away[1]


def test_a_variation_is_reproduced_only_over_its_own_picture(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    path = generate(tiny_sd15, adapter, shots[:1], tmp_path, make_sampler(6, 2.0))[0].path
    base, source = provenance.read_record(path), _read(path)
    pipe = drawing.open_pipeline(tiny_sd15, adapter, edits.sampler_of(base))
    recipe = edits.edit_record("vary", source, base, base, seed=5, strength=0.4)
    varied = edits.apply_edit(pipe, source, recipe, 64)
    again = remake.remake(tiny_sd15, recipe, adapter, _none)
    assert remake.compare(varied, again, recipe).same
    with pytest.raises(ArtifactError, match="not the picture that was edited"):
        edits.apply_edit(pipe, source.rotate(90), recipe, 64)
    foreign = {k: v for k, v in recipe.items() if k != "parent"}
    with pytest.raises(InputError, match="reference"):
        remake.remake(tiny_sd15, foreign, adapter, _none)
    assert remake.compare(varied, remake.remake(tiny_sd15, foreign, adapter, _none, source), foreign).same


def test_schedulers_by_name(tiny_sd15: SD15, shots: list[Shot], tmp_path: Path) -> None:
    def draw(name: str) -> Path:
        return generate(
            tiny_sd15, None, shots[:1], tmp_path / (name or "own"), replace(SAMPLER, scheduler=name)
        )[0].path

    own, euler = draw(""), draw("euler")
    assert (np.asarray(_read(own)) != np.asarray(_read(euler))).any()
    recipe = provenance.read_record(euler)
    assert recipe["scheduler"] == "euler" and "scheduler" not in provenance.read_record(own)
    assert remake.compare(_read(euler), remake.remake(tiny_sd15, recipe, None, _none), recipe).same
    assert remake.compare(_read(own), _read(draw("")), {}).same
    with pytest.raises(InputError, match="unknown scheduler"):
        draw("fast")


def test_a_size_that_the_family_cannot_make(tiny_sd15: SD15, shots: list[Shot], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The nearest is 64x104"):
        generate(tiny_sd15, None, [replace(shots[0], size_px=(65, 103))], tmp_path, SAMPLER)


def test_a_style_adapter_beside_the_identity(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    style = StyleAdapter(adapter.path, 1.5)
    path = generate(tiny_sd15, adapter, shots[:1], tmp_path / "a", replace(SAMPLER, style=style))[0].path
    bare = generate(tiny_sd15, adapter, shots[:1], tmp_path / "b", SAMPLER)[0].path
    assert (np.asarray(_read(path)) != np.asarray(_read(bare))).any()
    recipe = provenance.read_record(path)
    with pytest.raises(InputError, match="style adapter of this picture is not available"):
        remake.remake(tiny_sd15, recipe, adapter, _none)
    again = remake.remake(tiny_sd15, recipe, adapter, lambda digest: adapter.path)
    assert remake.compare(_read(path), again, recipe).same
    broken = tmp_path / "style.safetensors"
    broken.write_bytes(b"x" * 64)
    with pytest.raises(InputError, match="does not fit"):
        drawing.open_pipeline(tiny_sd15, None, make_sampler(2, 1.0, style=StyleAdapter(broken, 0.6)))


def test_a1111_parameters_and_no_path_in_any_file(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    shot = replace(shots[0], negative_prompt="hat")
    path = generate(tiny_sd15, adapter, [shot], tmp_path, SAMPLER)[0].path
    lines = Image.open(path).info["parameters"].split("\n")
    assert lines[0] == shot.prompt and lines[1] == "Negative prompt: hat"
    assert f"Steps: 2, Sampler: DPM++ 2M, CFG scale: 2.0, Seed: {shot.seed}, Size: 64x64" in lines[2]
    assert "Lora hashes" in lines[2]
    for file in (path, path.with_suffix(".json")):
        assert str(tmp_path).encode() not in file.read_bytes()


def test_the_conditions_do_not_make_a_picture_stale(
    tiny_sd15: SD15, shots: list[Shot], tmp_path: Path
) -> None:
    first = generate(tiny_sd15, None, shots, tmp_path, SAMPLER, batch_size=4)
    before = [p.path.read_bytes() for p in first]
    again = generate(tiny_sd15, None, shots, tmp_path, SAMPLER, batch_size=2)
    assert [p.path.read_bytes() for p in again] == before


@pytest.mark.parametrize("text", ["", "no base64!", "aGVsbG8="])
def test_a_damaged_mask_is_reported(text: str) -> None:
    with pytest.raises(ArtifactError, match="mask"):
        masks.decode_mask(text)


def test_a_foreign_text_under_our_key_is_reported_as_damage(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "likeness.yaml").write_text("base: embedded\n")
    info = PngInfo()
    info.add_itxt(provenance.RECIPE_KEY, "{no json")
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(ArtifactError, match="damaged"):
        finished.open_picture(tmp_path / "a.png", None, [])
