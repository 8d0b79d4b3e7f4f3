"""Streamed training is resident training to the bit, in the memory of the rest and of two blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_families import CHANNELS, FAMILIES, randomized
from torch import Tensor, nn

from portrait_lora.device import gpu_memory_gb
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.blocks import repeated_blocks
from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import Geometry, PromptCondition
from portrait_lora.families.footprint import Placement
from portrait_lora.families.tensor_files import TensorFiles
from portrait_lora.records import FamilyName
from portrait_lora.tasks.verify.learning import levels, noise
from portrait_lora.training.adapter import add_adapter
from portrait_lora.training.cache import EncodedSample, Encodings
from portrait_lora.training.loop import Run
from portrait_lora.training.memory import use_checkpointing
from portrait_lora.training.processes import open_accelerator
from portrait_lora.training.run import about, refuse_what_cannot_work
from portrait_lora.training.slots import HostSource, Slots
from portrait_lora.training.streaming import Streamed
from tests.counted import peak_bytes
from tests.recipes import recipe
from tests.sampling import sampled

Tiny = Callable[[FamilyName], DiffusersFamily]
SIZE = Geometry((64, 64), (0, 0), (64, 64))
DEEP = {"num_layers": 3, "num_single_layers": 3, "n_layers": 3, "llama_layers": [2, 0, 0, 2, 2, 0]}
"""More blocks than there are places for them on the device."""


class Practice:
    """A deeper denoiser of a tiny family with a LoRA, and steps on noise; the same from the same start."""

    def __init__(self, family: DiffusersFamily, condition: PromptCondition):
        self.family, self.condition = family, condition
        config = {k: DEEP.get(k, v) for k, v in family.denoiser_config.items()}
        torch.manual_seed(0)
        self.denoiser = randomized(family.denoiser_type.from_config(config))
        family.denoiser = self.denoiser
        layers = family.lora_layers.attention
        self.parameters = add_adapter(self.denoiser, rank=2, alpha=2.0, target_modules=layers, seed=3)
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=1e-2)

    def step(self, seed: int) -> float:
        """One update; the loss before it."""
        side = 64 // self.family.latent_px
        seen = noise((2, CHANNELS, side, side), seed)
        answer = self.family.predict(seen, levels(self.family, 0.3, 0.8), self.condition, [SIZE] * 2)
        loss = (answer - noise(seen.shape, seed + 100)).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def run(self, steps: int) -> tuple[list[float], list[Tensor]]:
        return [self.step(i) for i in range(steps)], [p.detach().clone() for p in self.parameters.values()]


KINDS = ("sdxl", "flux1", "z_image", "qwen_image21", "sana", "hidream")
"""Of a UNet, of two streams and one, refined before, with masks of its own, with convolutions, with
the layers of a second text encoder."""


@pytest.fixture(params=sampled(FAMILIES, kept=lambda name: name in KINDS))
def practice(request: pytest.FixtureRequest, tiny: Tiny) -> Iterator[Callable[[], Practice]]:
    family = tiny(request.param)
    family.load("encoders")
    condition = family.encode_prompts(["ohwx woman", "frontal headshot of ohwx woman"])
    yield lambda: Practice(family, condition)
    family.load("none")


def same(one: tuple[list[float], list[Tensor]], other: tuple[list[float], list[Tensor]]) -> bool:
    return one[0] == other[0] and all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))


def test_streamed_is_resident_to_the_bit(practice: Callable[[], Practice]) -> None:
    """The first blocks compute their activations again, and the others keep them."""
    resident = practice().run(2)
    own = practice()
    streamed = Streamed(own.denoiser, torch.device("cpu"))
    use_checkpointing(own.denoiser, 0.3)
    frozen = [
        p for m in repeated_blocks(own.denoiser).values() for p in m.parameters() if not p.requires_grad
    ]
    assert frozen and all(p.is_meta for p in frozen)
    assert same(own.run(2), resident)
    assert streamed.fetched > 2 * len(streamed.names)  # forwards and backwards
    assert all(p.is_meta for p in frozen)


@pytest.mark.parametrize("practice", ["flux1"], indirect=True)
def test_memory_is_that_of_the_rest_and_of_two_blocks(practice: Callable[[], Practice]) -> None:
    own = practice()
    resident = held(own.denoiser)
    own.run(1)
    activations = peak_bytes(lambda: own.step(1))
    before = {n: p.clone() for n, p in own.denoiser.named_parameters()}
    streamed = Streamed(own.denoiser, torch.device("cpu"))
    rest, longest = held(own.denoiser), max(streamed.block_bytes)
    assert rest + sum(streamed.block_bytes) >= resident and streamed.bytes_on_device <= 2 * longest + 1024
    own.step(2)
    assert peak_bytes(lambda: own.step(3)) <= activations + 1024  # the places are there before and after
    use_checkpointing(own.denoiser, 1.0)
    assert peak_bytes(lambda: own.step(4)) < 0.8 * activations
    streamed.close()
    changed = [n for n, p in own.denoiser.named_parameters() if not p.equal(before[n])]
    assert all("lora" in n for n in changed) and changed


def test_blocks_stay_in_their_files_without_a_gpu(tiny: Tiny, tmp_path: Path) -> None:
    """The real loop, once from memory and once from files of another number format; and then from others."""
    family = tiny("sd35")
    encodings = encoded(family)

    def trained(out: str, *, streamed: bool) -> tuple[bytes, int]:
        family.streamed = streamed
        plan = recipe(steps=3, rank=2, alpha=2.0, batch_size=2, learning_rate=1e-2)
        what = about(family, plan, tmp_path, trigger="ohwx", dataset_digest="", config_digest="")
        run = Run(family, encodings, tmp_path / out, plan, what, open_accelerator(cpu=True))
        use_checkpointing(run.plain, 1.0 if streamed else 0.0)
        result = run.go((3,), None)
        return result.checkpoints[-1].path.read_bytes(), held(run.plain)

    try:
        resident, whole = trained("resident", streamed=False)
        from_files, rest = trained("streamed", streamed=True)
        assert from_files == resident and rest < 0.5 * whole
        folder = family.base.folder / "transformer" if family.base.folder else tmp_path
        (file,) = folder.glob("*.safetensors")
        tensors = load_file(file)
        files = TensorFiles.of_folder(folder)
        name = next(n for n, t in tensors.items() if t.dim() == 2)
        half = torch.empty(tensors[name].shape, dtype=torch.bfloat16)
        files.read(name, half)
        assert torch.equal(half, tensors[name].bfloat16())
        with pytest.raises(ArtifactError, match="another shape"):
            files.read(name, half[:-1])
        with pytest.raises(ArtifactError, match="none of its files"):
            files.require("nowhere.weight", (1,))
        with pytest.raises(InputError, match="dora"):
            refuse_what_cannot_work(family, [], recipe(dora=True), tmp_path, 1)
    finally:
        family.streamed = False
        family.load("none")


def encoded(family: DiffusersFamily) -> Encodings:
    """Two pictures of noise with their captions."""
    family.load("encoders")
    empty, *captions = (family.encode_prompts([text]) for text in ("", "ohwx woman", "ohwx woman, smiling"))
    samples = [
        EncodedSample(str(i), "", noise((CHANNELS, 8, 8), i), torch.zeros(CHANNELS, 8, 8), caption, SIZE)
        for i, caption in enumerate(captions)
    ]
    return Encodings(tuple(samples), empty)


def held(denoiser: nn.Module) -> int:
    """Bytes of the parameters that are there."""
    return sum(p.nbytes for p in denoiser.parameters() if not p.is_meta)


def test_what_has_no_blocks_or_is_quantised_is_refused() -> None:
    with pytest.raises(InputError, match="no repeated blocks"):
        Streamed(nn.Linear(2, 2), torch.device("cpu"))


def test_without_pinned_memory_ordinary_memory_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(Tensor, "pin_memory", full)
    blocks = [torch.arange(4, dtype=torch.uint8) + i for i in range(3)]
    source = HostSource(blocks, pinned=True)
    assert "no more pinned memory" in caplog.text and len(caplog.records) == 1 and not source.pinned
    slots = Slots(source, torch.device("cpu"))
    for index in (0, 1, 2, 0, 2, 2, 1):
        block = slots.fetch(index)
        slots.expect((index + 1) % 3)
        assert torch.equal(block[:4], blocks[index])


@pytest.mark.parametrize("threaded", [False, True])
def test_a_block_whose_reading_failed_is_read_again(threaded: bool) -> None:
    class Failing:
        sizes = (4, 4, 4)
        failures = 1

        def read(self, index: int, into: Tensor) -> None:
            into.fill_(99)
            if index == 1 and self.failures:
                self.failures -= 1
                raise OSError("the disk is gone")
            into.fill_(index)

    slots = Slots(Failing(), torch.device("cpu"), threaded=threaded)
    slots.fetch(0)
    with pytest.raises(OSError, match="gone"):
        slots.fetch(1)
    assert slots.fetch(0)[0] == 0 and slots.fetch(1)[:4].tolist() == [1] * 4
    slots.close()


def visits(part: nn.Module) -> bool:
    """Whether any of its layers waits elsewhere until it computes."""
    return any(hasattr(module, "_diffusers_hook") for module in part.modules())


def test_a_pipeline_that_is_offloaded_draws_the_same(tiny: Tiny) -> None:
    family = tiny("sdxl")

    def drawn() -> tuple[Tensor, Tensor]:
        family.load("none")
        family.load("encoders")
        condition = family.encode_prompts(["ohwx"])
        family.load("denoiser")
        pipe: Any = family.pipeline(None)
        start = torch.Generator().manual_seed(0)
        size: Any = {"height": 64, "width": 64, "output_type": "latent"}  # the VAE blends its tiles
        return condition.embeds_BLD, pipe("ohwx", num_inference_steps=1, generator=start, **size).images

    try:
        resident = drawn()
        ways: list[tuple[Placement, list[bool]]] = [
            ("text_offloaded", [False, True, True]),
            ("offloaded", [True] * 3),
        ]
        for placement, aside in ways:
            family.placement = placement
            assert all(torch.equal(a, b) for a, b in zip(resident, drawn(), strict=True))
            pipe: Any = family.pipeline(None)
            assert [visits(part) for part in (pipe.unet, pipe.text_encoder, pipe.text_encoder_2)] == aside
            assert pipe._execution_device == family.device
        family.text_offloaded = True
        assert all(torch.equal(a, b) for a, b in zip(resident, drawn(), strict=True))
        family.load("encoders")
        assert all(visits(part) for part in family.text_encoders().values())
    finally:
        family.placement, family.text_offloaded = "resident", False
        family.load("none")


def test_memory_of_other_programs_is_not_planned_with(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2e9)
    for free, room in ((21e9, 24.0), (12e9, 14.0)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 24e9))
        assert gpu_memory_gb("cuda:0") == pytest.approx(room)
    assert caplog.text.count("Other programs hold 10 of the 24 GB of cuda:0") == 1
