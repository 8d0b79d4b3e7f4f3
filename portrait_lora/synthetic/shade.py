"""Deferred shading: every covered sample becomes a surface, then a colour.  N samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from portrait_lora.shading import EXPOSURE, Lighting, Surface, illuminate
from portrait_lora.synthetic import colours, figure
from portrait_lora.synthetic.body import SUNGLASSES
from portrait_lora.synthetic.cloth import ClothSamples, paint_cloth
from portrait_lora.synthetic.figure import Figure
from portrait_lora.synthetic.geometry import dot, mix, noise, rotate, smooth, unit
from portrait_lora.synthetic.hair import CURLY
from portrait_lora.synthetic.hats import paint_hat
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.light import ShadowMap
from portrait_lora.synthetic.scene import Scene
from portrait_lora.synthetic.skin import SkinSamples, paint_skin


@dataclass(frozen=True, slots=True)
class Fragments:
    """Interpolated vertex data at the samples; attributes as in `figure.ATTRIBUTES`."""

    position_N3: Tensor
    normal_N3: Tensor
    tangent_N3: Tensor
    attributes_N8: Tensor
    material_N: Tensor
    flipped_N: Tensor
    view_N3: Tensor


def fragments(values_N17: Tensor, material_N: Tensor, camera_z: float) -> Fragments:
    """Unpacks interpolated values and turns normals of back sides towards the camera."""
    position = values_N17[:, :3]
    normal, tangent = unit(values_N17[:, 3:6]), unit(values_N17[:, 6:9])
    camera = torch.tensor([0.0, 0.0, camera_z], device=position.device)
    view = unit(camera - position)
    two_sided = (material_N == figure.EAR) | (material_N == figure.CURTAIN) | (material_N >= figure.COLLAR)
    flipped = (dot(normal, view) < 0) & two_sided
    normal = torch.where(flipped[:, None], -normal, normal)
    return Fragments(position, normal, tangent, values_N17[:, 9:], material_N, flipped, view)


def shade(
    frags: Fragments, body: Figure, person: Person, scene: Scene, lights: Lighting, shadows: ShadowMap
) -> Tensor:
    """(N, 3) display-linear colours in 0..1."""
    surface = dress(frags, body, person, scene)
    radiance = illuminate(surface, frags.view_N3, in_light(frags, lights, shadows), lights)
    return (1 - torch.exp(-EXPOSURE * radiance)).clamp(0, 1)


def in_light(frags: Fragments, lights: Lighting, shadows: ShadowMap) -> Tensor:
    """(N,) 1 where the key lamp is seen, 0 in its shadow."""
    return shadows.lit(frags.position_N3, dot(frags.normal_N3, lights.direction_33[0]))


def dress(frags: Fragments, body: Figure, person: Person, scene: Scene) -> Surface:
    """What the light meets at the samples: skin, hair, cloth, glasses and hat, whatever the lamps."""
    count, device = len(frags.material_N), frags.position_N3.device
    one, zero = torch.ones(count, device=device), torch.zeros(count, device=device)
    albedo = torch.full((count, 3), 0.5, device=device)
    normal, tangent = frags.normal_N3.clone(), frags.tangent_N3.clone()
    surface = Surface(albedo, normal, tangent, one, zero.clone(), one * 24, zero.clone(), zero, zero.clone())
    _dress_skin(surface, frags, body, person, scene)
    _dress_hair(surface, frags, person)
    _dress_cloth(surface, frags, person, scene)
    _dress_glasses(surface, frags, person)
    if person.hatted:
        _dress_hat(surface, frags, person)
    return surface


def _dress_skin(out: Surface, frags: Fragments, body: Figure, person: Person, scene: Scene) -> None:
    index = (frags.material_N <= figure.EAR).nonzero()[:, 0]
    if not len(index):
        return
    samples = SkinSamples.of(frags.attributes_N8[index], frags.material_N[index] == figure.EAR)
    skin = paint_skin(samples, person, body.features, scene)
    eyes = skin.eyes
    ball = torch.stack([eyes.outward_N * 0.62, eyes.ly_N * 0.62, torch.ones_like(eyes.ly_N)], -1)
    ball = rotate(unit(ball), body.head_rotation_33)
    out.albedo_N3[index] = skin.albedo_N3
    out.normal_N3[index] = unit(mix(out.normal_N3[index], ball, eyes.cover_N))
    out.occlusion_N[index] = skin.occlusion_N
    out.specular_N[index] = skin.specular_N + 0.55 * eyes.cover_N
    out.gloss_N[index] = 24 + 190 * eyes.cover_N
    out.skin_N[index] = skin.skin_N


def _dress_hair(out: Surface, frags: Fragments, person: Person) -> None:
    material = frags.material_N
    index = ((material >= figure.CAP) & (material <= figure.BUN)).nonzero()[:, 0]
    if not len(index):
        return
    a = frags.attributes_N8[index]
    x, y, z, u = a[:, 0], a[:, 1], a[:, 2], a[:, 3]
    seed, style = person.moles[0][0] * 31, person.style_name
    if style in CURLY:
        strand = (
            noise(x * 15 + seed, y * 15 + z * 11, 6) * 0.6 + noise(x * 31 + z * 13, y * 29 + seed, 8) * 0.4
        )
        occlusion = 0.55 + 0.6 * strand
    else:
        around = torch.atan2(x, z + 0.1) * 22
        strand = (
            noise(around + seed, u * 7 + y * 2, 2) * 0.6 + noise(around * 2.7 + seed, u * 12 + y * 3, 4) * 0.4
        )
        occlusion = 0.75 + 0.35 * strand
    colour = colours.hair(person, x.device)
    albedo = colour * (0.55 + 0.9 * strand)[:, None]
    if style == "buzz cut":
        albedo = (colours.skin(person, x.device) * 0.35 + colour * 0.5).expand(len(x), 3)
    curtain = material[index] == figure.CURTAIN
    low = 1 - 0.35 * smooth(-y, 0.2, 1.4) * (z > -0.2)
    occlusion = occlusion * torch.where(curtain, low, torch.ones_like(low))
    occlusion = torch.where(curtain & frags.flipped_N[index], occlusion * 0.35, occlusion)
    fuzzy = style in CURLY or style == "buzz cut"
    shine = (0.25 if fuzzy else 0.85) * (1 - 0.35 * person.hair_grey)
    out.albedo_N3[index] = albedo
    out.occlusion_N[index] = occlusion
    out.strand_N = out.strand_N.index_copy(0, index, shine * (0.5 + strand))
    out.hair_N[index] = (out.strand_N[index] > 0).float()
    out.tangent_N3[index] = unit(out.tangent_N3[index] + (strand[:, None] - 0.5) * 0.25)


def _dress_cloth(out: Surface, frags: Fragments, person: Person, scene: Scene) -> None:
    material = frags.material_N
    index = ((material == figure.TORSO) | (material == figure.COLLAR)).nonzero()[:, 0]
    if not len(index):
        return
    a = frags.attributes_N8[index]
    samples = ClothSamples(
        a[:, :3], a[:, 3], a[:, 4], material[index] == figure.COLLAR, frags.flipped_N[index]
    )
    cloth = paint_cloth(samples, person, scene)
    bare = cloth.bare_N
    slope = torch.tensor([1.0, 0.4, 0.0], device=bare.device)
    out.albedo_N3[index] = cloth.albedo_N3
    out.normal_N3[index] = unit(out.normal_N3[index] + cloth.fold_N[:, None] * slope)
    out.occlusion_N[index] = cloth.occlusion_N
    out.specular_N[index] = 0.03 + 0.17 * bare
    out.skin_N[index] = bare


def _dress_glasses(out: Surface, frags: Fragments, person: Person) -> None:
    index = (frags.material_N == figure.GLASSES).nonzero()[:, 0]
    if not len(index):
        return
    frame = (person.frame_r, person.frame_g, person.frame_b)
    tinted = tuple(c * 0.12 + 0.01 for c in frame) if frame[0] > 0.5 else (0.02, 0.018, 0.017)
    out.albedo_N3[index] = torch.tensor(tinted, device=index.device)
    out.specular_N[index] = 1.2 if int(person.glasses) != SUNGLASSES else 0.3
    out.gloss_N[index] = 60.0
    lens = (frags.material_N == figure.LENS).nonzero()[:, 0]
    if len(lens):
        paler = smooth(-frags.attributes_N8[lens, 1], -0.05, 0.20)[:, None]
        tint = torch.tensor((0.034, 0.026, 0.022), device=lens.device)
        out.albedo_N3[lens] = 0.006 + tint * paler
        out.specular_N[lens] = 0.16
        out.gloss_N[lens] = 110.0


def _dress_hat(out: Surface, frags: Fragments, person: Person) -> None:
    index = (frags.material_N == figure.HAT).nonzero()[:, 0]
    if not len(index):
        return
    hat = paint_hat(frags.attributes_N8[index], person)
    beneath = torch.where(frags.flipped_N[index], 0.45, 1.0)
    out.albedo_N3[index] = hat.albedo_N3
    out.occlusion_N[index] = hat.occlusion_N * beneath
    out.normal_N3[index] = unit(out.normal_N3[index] + hat.slope_N3)
