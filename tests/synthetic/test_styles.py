"""The styles: what each does to a picture, and that faces stay where they were."""

from __future__ import annotations

import pytest
import torch

from portrait_lora import synthetic, vocabulary
from portrait_lora.faces import FaceAnalyzer, resolve_pack
from portrait_lora.synthetic import styles

CARTOON, OIL, FILM = vocabulary.STYLES


@pytest.fixture(scope="module")
def renders() -> torch.Tensor:
    scenes = synthetic.sample_scenes([1, 2, 3], view="frontal", lighting="three-point lighting")
    return synthetic.render(synthetic.sample_people([70, 71, 72]), scenes, 128).image_BCHW


@pytest.mark.parametrize("style", vocabulary.STYLES)
def test_a_style_is_a_function_of_picture_and_seed_and_keeps_the_face(
    renders: torch.Tensor, style: str
) -> None:
    styled = styles.styled(renders, style, [5, 6, 7])
    assert styled.shape == renders.shape and styled.dtype == torch.uint8
    assert torch.equal(styles.styled(renders[1:2], style, [6]), styled[1:2])
    assert (styled.float() - renders.float()).abs().mean() > 4
    analyzer = FaceAnalyzer(resolve_pack())
    for before, after in zip(renders, styled, strict=True):
        faces = [analyzer.find(p.permute(1, 2, 0).contiguous().numpy()) for p in (before, after)]
        assert len(faces[1]) == 1
        apart = abs(faces[0][0].keypoints_px - faces[1][0].keypoints_px).max()
        assert apart < 0.08 * 128


def test_film_has_no_colour_and_grain_of_its_own_seed(renders: torch.Tensor) -> None:
    one, other = (styles.styled(renders, FILM, [seed] * 3) for seed in (1, 2))
    assert torch.equal(one[:, 0], one[:, 1]) and torch.equal(one[:, 0], one[:, 2])
    assert not torch.equal(one, other)
    grain = (one.float() - other.float())[:, 0]
    black = styles.styled(torch.zeros_like(renders), FILM, [1] * 3).float().std()
    assert grain.std() > black


def test_a_cartoon_has_fewer_tones_and_darker_edges(renders: torch.Tensor) -> None:
    ramp = torch.linspace(40, 220, 128).round().byte().expand(1, 3, 128, 128).contiguous()
    steps = styles.styled(ramp, CARTOON, [0])[0, 0, 64].int().diff().abs()
    assert int((steps > 6).sum()) < 14 and int((steps <= 2).sum()) > 90
    disc = torch.full((1, 3, 128, 128), 200, dtype=torch.uint8)
    disc[:, 0, 40:90, 40:90] = 90
    assert styles.styled(disc, CARTOON, [0])[0].float().mean(0).min() < 60


def test_painting_smooths_noise_and_keeps_an_edge() -> None:
    g = torch.Generator().manual_seed(0)
    flat = (torch.randn(1, 3, 96, 96, generator=g) * 18 + 90).clamp(0, 255)
    flat[..., 48:] += 90
    painted = styles.styled(flat.byte(), OIL, [0]).float()
    fine = [p[..., 8:88, 8:40].diff(dim=-1).abs().mean() for p in (flat, painted)]
    assert fine[1] < 0.7 * fine[0]
    assert painted[..., 56:90].mean() - painted[..., 6:40].mean() > 60


def test_an_unknown_style_or_a_missing_seed_is_refused(renders: torch.Tensor) -> None:
    with pytest.raises(KeyError, match="fresco"):
        styles.styled(renders, "fresco", [0] * 3)
    with pytest.raises(ValueError, match="is shorter than"):
        styles.styled(renders, FILM, [0])
