# pyright: reportPrivateImportUsage=false
"""Clips by a video model: Wan's and LTX-Video's layouts with small random weights, through diffusers."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.finishing import animated, chain, look, video
from portrait_lora.finishing.canvas import Canvas, Product
from portrait_lora.finishing.steps.clip import Clip, ClipSettings
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.hub.hub import Hub
from portrait_lora.records import RGBImage
from portrait_lora.rights import guard, marks
from portrait_lora.stages.finish_models import finder
from portrait_lora.tasks import finish as finishing
from portrait_lora.tasks import pull as pulling
from tests.finishing import studio
from tests.finishing.made_up import LightJudge, NoTools, planned
from tests.finishing.test_finish import portrait  # noqa: F401  (a fixture)
from tests.local_hub import LocalHub, serving
from tests.tiny_families import WIDTH, _t5, randomized

STEP = Clip()
OWN: dict[str, Any] = {"model_licence": "of my own", "steps": 1, "seconds": 2, "size_px": 64}


def _wan(channels: int) -> Any:
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=channels,
        out_channels=4, text_dim=WIDTH, freq_dim=16, ffn_dim=32, num_layers=1, rope_max_seq_len=64,
    )  # fmt: skip


def save_wan(folder: Path, kind: str, *, large: bool = False) -> None:
    """Wan 2.2: the small model begins with the picture's own latents, the large ones have two denoisers."""
    text, tokenizer = _t5()
    vae = diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    more: dict[str, Any] = {"transformer_2": randomized(_wan(12)), "boundary_ratio": 0.5}
    pipe = getattr(diffusers, kind)(
        tokenizer=tokenizer, text_encoder=text, vae=randomized(vae),
        transformer=randomized(_wan(12 if large else 4)),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
        ),
        expand_timesteps=not large, **(more if large else {}),
    )  # fmt: skip
    pipe.save_pretrained(folder, safe_serialization=True)


def save_ltx(folder: Path) -> None:
    """LTX-Video: latents of 32 x 32 px and eight frames."""
    text, tokenizer = _t5()
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
    )  # fmt: skip
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
        num_layers=1, caption_channels=WIDTH,
    )  # fmt: skip
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05
    )
    diffusers.LTXPipeline(
        tokenizer=tokenizer, text_encoder=text, vae=randomized(vae), transformer=randomized(transformer),
        scheduler=scheduler,
    ).save_pretrained(folder, safe_serialization=True)  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model of each kind."""
    folder = tmp_path_factory.mktemp("video")
    save_wan(folder / "small", "WanPipeline")
    save_wan(folder / "large", "WanImageToVideoPipeline", large=True)
    save_ltx(folder / "ltx")
    return folder


@pytest.fixture(autouse=True)
def watermarked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The watermark takes a third of a second a frame and has tests of its own: whether it is asked for."""
    sizes: list[tuple[int, ...]] = []

    def laid(rgb: RGBImage, recipe: str) -> RGBImage:
        sizes.append(rgb.shape)
        return rgb

    monkeypatch.setattr(animated.marks, "watermarked", laid)
    return sizes


def tools(folder: Path, seed: int = 0, *, commercial: bool = False, find: Any = None) -> PictureTools:
    """Tools with the embedded pack, and models by their name in a folder."""
    find = find or (lambda name: folder / name)
    return PictureTools(studio.analyzer(), folder, seed, find, commercial=commercial)


@pytest.mark.parametrize(
    ("name", "fps", "count", "most"), [("small", 24, 49, 121), ("large", 16, 33, 81), ("ltx", 25, 49, 129)]
)
def test_the_kind_says_frames_and_rate(models: Path, name: str, fps: int, count: int, most: int) -> None:
    kind = video.kind_of(models / name)
    assert kind.fps == fps and video.count_of(kind, 2) == count
    assert video.count_of(kind, 5) == most
    assert all((video.count_of(kind, s) - 1) % kind.every == 0 for s in (2, 2.7, 3, 4.1, 5))
    assert abs(video.count_of(kind, 3.3) / fps - 3.3) < kind.every / fps


@pytest.mark.parametrize("name", ["small", "large", "ltx"])
def test_frames_are_those_of_diffusers_in_the_size_of_the_picture(models: Path, name: str) -> None:
    one = video.opened(models / name)
    rgb = np.asarray(studio.sitter(3).picture[40:104, 60:124], np.uint8)
    frames = one.frames(rgb, "a person smiles", one.kind.every + 1, 2, 7)
    assert len(frames) == one.kind.every + 1 and all(f.shape == rgb.shape for f in frames)
    again = one.frames(rgb, "a person smiles", one.kind.every + 1, 2, 7)
    assert all(np.array_equal(a, b) for a, b in zip(frames, again, strict=True)), "not the same again"
    other = one.frames(rgb, "a person smiles", one.kind.every + 1, 2, 8)
    assert any(not np.array_equal(a, b) for a, b in zip(frames, other, strict=True)), "the seed decides"
    kind = getattr(diffusers, one.kind.pipeline).from_pretrained(models / name, local_files_only=True)
    kind.set_progress_bar_config(disable=True)
    plain = kind(
        image=Image.fromarray(rgb), prompt="a person smiles", negative_prompt=video._AVOIDED, width=64,
        height=64, num_frames=one.kind.every + 1, num_inference_steps=2, guidance_scale=one.kind.guidance,
        generator=torch.Generator().manual_seed(7), output_type="np",
    ).frames[0]  # fmt: skip
    off = np.abs(np.stack(frames) - plain * 255)
    assert off.max() <= 1, "another video than diffusers' own"


def test_a_card_holds_what_fits_and_the_rest_waits_on_the_host(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, billions = video.opened(models / "small"), {"text_encoder": 6.0, "transformer": 5.0, "vae": 0.5}
    monkeypatch.setattr(video.layout, "parameters_b", lambda part: billions[part.name])
    places: list[str] = []
    for room in (None, 40.0, 24.0, 12.0):
        monkeypatch.setattr(video.device, "gpu_memory_gb", lambda name, room=room: room)
        places.append(one._place(models / "small"))
    assert places == ["resident", "resident", "text_offloaded", "offloaded"]


def test_on_a_card_wans_autoencoder_stays_in_float32(models: Path) -> None:
    for name, vae in (("small", torch.float32), ("ltx", torch.bfloat16)):
        pipe = video._opened(models / name, video.kind_of(models / name), torch.device("cuda"))
        assert (pipe.transformer.dtype, pipe.vae.dtype) == (torch.bfloat16, vae)


def test_a_decoder_that_is_told_the_noise_level_is_told_it(models: Path) -> None:
    one = video.Video(models / "ltx")
    assert one._more() == {"frame_rate": 25}
    one._pipe.vae.register_to_config(timestep_conditioning=True)
    assert one._more() == {"frame_rate": 25, "decode_timestep": 0.05, "decode_noise_scale": 0.025}
    assert video.opened(models / "small")._more() == {}


def test_a_clip_says_that_a_model_drew_it_whatever_the_picture_was(
    models: Path, watermarked: list[tuple[int, ...]]
) -> None:
    canvas = Canvas.of(studio.sitter(3).picture)
    settings = ClipSettings.model_validate(OWN | {"model": "small", "size_px": 96, "files": ["webp", "avif"]})
    STEP.open(settings, tools(models))
    one = tools(models)
    done = STEP.apply(canvas, settings, one)
    assert done.rgb_HW3 is canvas.rgb_HW3, "the picture stays"
    first, second = done.products
    assert (first.name, second.name) == ("-clip.webp", "-clip.avif") and first.drawn and second.drawn
    assert len(first.frames) == 8 and second.frames == ()
    assert all(frame.shape == (96, 64, 3) for frame in first.frames), "3:4 of 96 px, in multiples of 32"
    with Image.open(io.BytesIO(first.data)) as clip:
        assert getattr(clip, "n_frames", 1) == 49 and clip.size == (64, 96)
        assert marks.of_packet(clip.info["xmp"]) == provenance.TRAINED
    assert one.used() == {"small": one.used()["small"]} and len(one.used()["small"]) == 64
    assert len(watermarked) >= 2 * 49, "every frame of every file"
    assert done.products == STEP.apply(canvas, settings, tools(models)).products, "not the same again"
    assert STEP.apply(canvas, settings, tools(models, seed=1)).products != done.products


def test_the_whole_picture_is_set_in_motion_without_distortion(models: Path) -> None:
    """Before the model sees it the picture is scaled evenly and cut at the longer sides."""
    shown: list[RGBImage] = []

    class Still:
        kind = video.kind_of(models / "ltx")

        def frames(self, rgb: RGBImage, prompt: str, count: int, steps: int | None, seed: int) -> Any:
            shown.append(rgb)
            return (rgb,) * count

    canvas = Canvas.of(studio.sitter(3).picture)  # 192 x 240
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(video, "opened", lambda folder: Still())
        done = STEP.apply(canvas, ClipSettings(model="ltx", size_px=224), tools(models))
    (rgb,) = shown
    assert rgb.shape == (224, 160, 3)
    half = np.asarray(
        Image.fromarray(studio.sitter(3).picture).resize((179, 224), Image.Resampling.BOX), float
    )
    assert np.abs(half[:, 9:169] - rgb).mean() < 4
    assert (
        float(studio.analyzer().find(rgb)[0].embedding @ studio.analyzer().find(canvas.flat())[0].embedding)
        > 0.8
    )
    assert all(np.array_equal(frame, rgb) for frame in done.products[0].frames)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": "wan", "path": "orbit"}, "path says nothing to a video model"),
        ({"model": "wan", "fps": 24}, "fps says nothing to a video model"),
        ({"prompt": "smile"}, "prompt says nothing to the camera: name a model"),
        ({"steps": 5}, "steps says nothing to the camera"),
        ({"model": "folder"}, "model_licence must say"),
    ],
)
def test_settings_of_the_other_kind_are_mistakes(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        look.planned([{"clip": wrong}], "here")


def test_what_cannot_be_drawn_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canvas = Canvas.of(studio.sitter(3).picture)
    with pytest.raises(guard.Refused):
        STEP.open(ClipSettings(model="ltx", prompt="a nude person"), tools(models))
    with pytest.raises(guard.Refused):
        STEP.apply(canvas, ClipSettings(model="ltx", prompt="a child"), tools(models))
    with pytest.raises(InputError, match=r"small for a clip.*192 x 240 px.*32 px a side"):
        STEP.apply(
            canvas, ClipSettings(model="ltx", size_px=64).model_copy(update={"size_px": 34}), tools(models)
        )
    with pytest.raises(InputError, match="no face"):
        STEP.apply(Canvas.of(np.full((96, 96, 3), 128, np.uint8)), ClipSettings(model="ltx"), tools(models))
    with pytest.raises(
        InputError, match=r"another kind of model.*WanPipeline or .* or LTXImageToVideoPipeline"
    ):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        video.kind_of(tmp_path / "x")
    save_wan(tmp_path / "old", "WanImageToVideoPipeline", large=True)
    config = tmp_path / "old" / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"image_dim": null', '"image_dim": 1280'))
    with pytest.raises(InputError, match="network for pictures"):
        video.kind_of(tmp_path / "old")
    (models / "small" / "vae" / "weights.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="can run code"):
        video.kind_of(models / "small")
    (models / "small" / "vae" / "weights.bin").unlink()
    looked_at: list[str] = []

    def refuse(picture: Image.Image, name: str) -> None:
        looked_at.append(name)
        raise guard.RefusedPicture("refused")

    with monkeypatch.context() as patched:
        patched.setattr(guard, "require_picture", refuse)
        with pytest.raises(guard.RefusedPicture):
            STEP.apply(canvas, ClipSettings.model_validate(OWN | {"model": "small"}), tools(models))
    assert looked_at == ["frame 1 of the clip"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"portrait-lora\[video\]"):
        video.Video(models / "small")


def test_licences_are_asked_for_where_pictures_are_sold(models: Path) -> None:
    for name, licence in (("ltx", ""), ("small", "of my own")):
        settings = ClipSettings.model_validate(
            {"model": name} | ({"model_licence": licence} if licence else {})
        )
        with pytest.raises(InputError, match="commercial use"):
            STEP.open(settings, tools(models, commercial=True))
    STEP.open(ClipSettings(model="wan"), tools(models, commercial=True, find=lambda name: models / "small"))
    STEP.open(ClipSettings(model="large", model_licence="MIT"), tools(models, commercial=True))


class Moved:
    """A step that sets the picture in motion: frames so much brighter, one of them white."""

    name, settings, of_colour = "moved", ClipSettings, False

    def __init__(self, *brighter: float, drawn: bool = True):
        self.brighter, self.drawn = brighter, drawn

    def apply(self, canvas: Canvas, settings: Any, tools: Any) -> Canvas:
        del settings, tools
        frames = tuple(canvas.with_rgb(canvas.rgb_HW3 + np.float32(b)).flat() for b in self.brighter)
        product = Product("-clip.webp", b"", frames, self.drawn)
        return replace(canvas, products=(*canvas.products, product, Product("-clip.avif", b"")))

    def neutral(self, canvas: Canvas, settings: Any, tools: Any) -> Canvas | None:
        return None


def _run(step: Any, **more: Any) -> chain.Finished:
    picture = Canvas.of(np.full((32, 32, 3), 102, np.uint8))  # likeness 0.6 by the judge, 0 in white
    judge = LightJudge(has_photos=more.pop("has_photos", True))
    return chain.run(picture, [replace(planned_of(step))], NoTools(), judge, **more)


def planned_of(step: Any) -> Any:
    """The step with its defaults."""
    from tests.finishing.made_up import Brighter

    return replace(planned(Brighter(), amount=0.0), step=step, settings=ClipSettings())


def test_frames_of_a_model_are_gated_by_their_mean() -> None:
    done = _run(Moved(0.0, 0.02, 0.04)).passed[0]
    assert done.moving is not None and done.moving.count == done.moving.faces == 3
    assert done.moving.a == pytest.approx((0.58, 0.56), abs=0.003) and done.moving.b == done.moving.a
    likeness = done.entry["likeness"]
    assert isinstance(likeness, dict) and likeness["moving"]["A"] == pytest.approx([0.58, 0.56], abs=0.003)
    with pytest.raises(chain.StepRefused, match=r"somebody else.*0\.600 -> 0\.5[67].*0\.580 at least"):
        _run(Moved(0.02, 0.04, 0.04))
    assert _run(Moved(0.02, 0.04, 0.04), limit=0.05).passed[0].strength == 1.0
    assert _run(Moved(0.02, 0.04, 0.04), strengths=[1.0]).passed[0].moving is not None
    assert _run(Moved(0.2, drawn=False)).passed[0].moving is not None, "the camera changes nobody"


def test_a_frame_without_a_face_counts_as_nobody() -> None:
    with pytest.raises(chain.StepRefused, match=r"0\.600 -> 0\.300 in 2 frames, 1 with a face"):
        _run(Moved(0.0, 1.0))
    kept = _run(Moved(0.0, 1.0), has_photos=False).passed[0].moving
    assert kept is not None and kept.faces == 1 and kept.a == pytest.approx((0.3, 0.0), abs=0.003)


def test_without_photos_the_frames_have_to_be_one_persons() -> None:
    assert _run(Moved(0.1, 0.2), has_photos=False).passed[0].moving is not None
    with pytest.raises(chain.StepRefused, match=r"somebody else.*0\.300 at least"):
        _run(Moved(0.35, 0.35), has_photos=False)


def test_a_look_writes_reports_and_makes_again_a_clip_of_a_model(
    models: Path,
    portrait: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def frames(self: Any, rgb: RGBImage, prompt: str, count: int, steps: int | None, seed: int) -> Any:
        """Random weights draw no face: what stands for them is the picture itself."""
        return tuple(rgb for _ in range(count))

    own = tmp_path / "own.yaml"
    own.write_text(
        f"name: own\nsteps:\n  - clip: {{model: {models / 'small'}, model_licence: MIT, seconds: 2}}\n"
    )
    refused = finishing.finish(portrait, str(own), None, tmp_path / "refused", []).pictures[0]
    assert refused.file is None and refused.refused is not None and "somebody else" in refused.refused
    assert not list((tmp_path / "refused").glob("*.webp"))
    monkeypatch.setattr(video.Video, "frames", frames)
    result = finishing.finish(portrait, str(own), None, tmp_path / "out", [])
    (one,) = result.pictures
    assert one.file is not None, one.refused
    moving = one.steps[0].moving
    assert moving is not None and moving.frames == moving.faces == 8 and moving.lowest_a > 0.8
    page = Path(result.page).read_text()
    assert 'src="p-own-clip.webp"' in page and moving.words in page
    clip = tmp_path / "out" / "p-own-clip.webp"
    assert provenance.source_type(clip) == provenance.TRAINED
    again = finishing.reproduce(Path(one.file), None, portrait, [])
    assert again.same and all(product.same for product in again.products)


def test_the_model_is_announced_fetched_by_name_and_found_again(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [p for p in (models / "ltx").rglob("*") if p.is_file()]
    files = {p.relative_to(models / "ltx").as_posix(): p.read_bytes() for p in every}
    me = tmp_path / "me"
    me.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=f"about 28 GB; licence.*pull ltx --into {me}"):
        finder(me)("ltx")
    with serving(LocalHub({"Lightricks/LTX-Video": files})) as server:
        hub = Hub(server.address, tmp_path / "cache", wait_s=0.0)
        (need,) = pulling.needs(["ltx"], me, hub)
        assert need.gigabytes == 28 and "as reported" in need.licence
        (model,) = pulling.pull("ltx", me, hub)
        assert pulling.needs(["ltx"], me, hub) == []
    assert model.source == "Lightricks/LTX-Video" and set(model.files) == set(files)
    assert video.kind_of(finder(me)("ltx")).fps == 25
