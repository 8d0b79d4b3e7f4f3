"""Renders synthetic people in scenes, with full ground truth.

B pictures, H x W pixels.  Pictures are rendered one at a time, so a row depends on nothing but itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.shading import lighting
from portrait_lora.synthetic import colours, landmarks
from portrait_lora.synthetic import head as head_grid
from portrait_lora.synthetic.backdrop import linear_to_srgb, paint_backdrop
from portrait_lora.synthetic.figure import PIVOT, Figure, build_figure
from portrait_lora.synthetic.geometry import rotate
from portrait_lora.synthetic.identity import People, Person
from portrait_lora.synthetic.light import ShadowMap
from portrait_lora.synthetic.raster import (
    DEPTH_STEPS,
    Samples,
    choose_samples,
    interpolate,
    rasterise,
    weights_at,
)
from portrait_lora.synthetic.scene import CLOSE_UP_MIN_HEAD_FRACTION, Scene, Scenes
from portrait_lora.synthetic.shade import fragments, shade

CAMERA_Z: Final = 8.5
"""Distance of the camera from the origin, in world units of about 10 cm."""
_NEARNESS: Final = 5.0
_SURFACE_TOLERANCE: Final = 0.06
_CHUNK: Final = 32_768
_HEAD_MIDDLE_Z: Final = 0.12


@dataclass(frozen=True, slots=True)
class Render:
    """B pictures and their truth; pixel coordinates have (0, 0) at the picture's upper left corner.

    keypoints: eye at the picture's left, eye at its right, nose tip, mouth corners left and right.
    landmarks: iBUG order.  pose: pitch (up), yaw (to the picture's right), roll (clockwise), degrees.
    light_direction: unit vector towards the key lamp (x right, y up, z to the camera).
    """

    image_BCHW: Tensor
    mask_BHW: Tensor
    face_box_xyxy_px: Tensor
    keypoints_px: Tensor
    landmarks_px: Tensor
    visible_B68: Tensor
    pose_deg: Tensor
    light_direction: Tensor
    looks: tuple[vocabulary.Look, ...]


@dataclass(frozen=True, slots=True)
class Camera:
    """Perspective camera on the z axis: pixels per unit at z = 0 and the world point in a given pixel."""

    width: int
    height: int
    scale: float
    world_x: float
    world_y: float
    pixel_x: float
    pixel_y: float

    def project(self, points: Tensor) -> Tensor:
        """(..., 3) pixel x, pixel y, nearness 0..1."""
        inverse = 1 / (CAMERA_Z - points[..., 2])
        scale = self.scale * CAMERA_Z * inverse
        x = self.pixel_x + (points[..., 0] - self.world_x) * scale
        y = self.pixel_y - (points[..., 1] - self.world_y) * scale
        return torch.stack([x, y, inverse * _NEARNESS], -1)


def look_of(person: Person, scene: Scene, *, sideways: float) -> vocabulary.Look:
    """The look of one picture in words; `sideways` is positive when the key light is on the right.

    What a hat or sunglasses hide is omitted: the hair on top, closed eyes, eye shadow.
    """
    v = vocabulary
    style = v.style_under_hat(person.style_name) if person.hatted else person.style_name
    rig = v.ALL_LIGHTINGS[scene.rig]
    glasses, expression, makeup = (
        v.ALL_GLASSES[int(person.glasses)],
        v.EXPRESSIONS[scene.expression],
        person.makeup_name,
    )
    if glasses == "sunglasses":
        expression = v.EXPRESSIONS[0] if expression == "eyes closed" else expression
        makeup = v.MAKEUP[1] if "lipstick" in makeup else v.MAKEUP[0]
    close = scene.head_fraction >= CLOSE_UP_MIN_HEAD_FRACTION
    return v.Look(
        subject=v.SUBJECTS[1] if person.female > 0.5 else v.SUBJECTS[0],
        shot=v.SHOTS[0] if close else v.SHOTS[1],
        view=v.view_of(scene.yaw_deg),
        facing=v.facing_of(scene.yaw_deg),
        hair=v.hair(style, colours.hair_colour_word(person)),
        skin=colours.skin_words(person),
        beard=v.BEARDS[int(person.beard)],
        glasses=glasses,
        expression=expression,
        wardrobe=f"{v.GARMENT_COLOURS[scene.garment_colour]} {scene.garment_name}",
        setting=v.setting(v.ALL_BACKDROPS[scene.backdrop], v.BACKDROP_COLOURS[scene.backdrop_colour]),
        lighting=rig,
        light_side=v.light_side_of(rig, sideways),
        hat=f"{person.hat_colour_name} {person.hat_name}" if person.hatted else None,
        makeup=None if makeup in v.UNWORN else makeup,
    )


@torch.inference_mode()
def render(
    people: People,
    scenes: Scenes,
    size_px: int | tuple[int, int] = 128,
    supersample: int = 1,
    transparent: bool = False,
) -> Render:
    """Person i in scene i.  `size_px` is the side of a square, or (width, height).

    `supersample` s shades edges, eyes and mouths s x s times.  With `transparent`, no backdrop is
    drawn: the picture holds the person's own colours and `mask_BHW` is their alpha.
    """
    if len(people) != len(scenes):
        raise ValueError(f"render: {len(people)} people but {len(scenes)} scenes")
    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    rows = [
        _render_one(person, scene, (width, height), supersample, transparent, people.device)
        for person, scene in zip(people.rows(), scenes.rows(), strict=True)
    ]
    tensors = (torch.stack(column) for column in zip(*(r[0] for r in rows), strict=True))
    return Render(*tensors, looks=tuple(r[1] for r in rows))


def _render_one(
    person: Person,
    scene: Scene,
    size: tuple[int, int],
    supersample: int,
    transparent: bool,
    device: torch.device,
) -> tuple[tuple[Tensor, ...], vocabulary.Look]:
    """One picture's tensors in the order of `Render`, and its words."""
    width, height = size
    figure = build_figure(person, scene, device)
    camera = camera_of(person, scene, figure, width * supersample, height * supersample)
    screen = camera.project(figure.position_V3)
    keys = rasterise(screen, figure.triangles, camera.height, camera.width)
    picture_HW4 = _paint(figure, person, scene, screen, keys, supersample)
    cover = picture_HW4[..., 3].clamp(0, 1)
    light = picture_HW4[..., :3].permute(2, 0, 1)
    if transparent:
        light = light / cover.clamp(min=1e-6)
    else:
        light = light + paint_backdrop(scene, width, height, device) * (1 - cover)
    if not bool(torch.isfinite(light).all()):
        raise FloatingPointError(f"render: colours of scene seed {scene.seed} are not finite")
    image = _bytes(linear_to_srgb(light))
    box, keypoints, points, visible = face_truth(figure, person, scene, camera, keys, supersample)
    pose = torch.tensor([scene.pitch_deg, scene.yaw_deg, scene.roll_deg], device=device)
    key = lighting(scene.rig, scene.rig_flip, device).direction_33[0]
    look = look_of(person, scene, sideways=float(key[0]))
    return (image, _bytes(cover), box, keypoints, points, visible, pose, key), look


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def camera_of(person: Person, scene: Scene, figure: Figure, width: int, height: int) -> Camera:
    """Puts the middle of the head near the picture's centre, the head `head_fraction` of it high."""
    chin, crown = head_grid.height(person)
    pivot = torch.tensor(PIVOT)
    middle = torch.tensor([0.0, (chin + crown) / 2, _HEAD_MIDDLE_Z]) - pivot
    middle = rotate(middle, figure.head_rotation_33) + pivot
    scale = scene.head_fraction * height / (crown - chin)
    headroom = 0.045 - 0.02 * (scene.head_fraction - 0.5)
    return Camera(
        width,
        height,
        scale,
        float(middle[0]) * 0.85,
        float(middle[1]),
        width / 2 + scene.centre[0] * height,
        height * (0.5 + headroom * -1 + 0.03 + scene.centre[1]),
    )


def _paint(
    figure: Figure, person: Person, scene: Scene, screen_V3: Tensor, keys_HW: Tensor, supersample: int
) -> Tensor:
    """(H, W, 4) premultiplied display-linear colour and coverage of the person."""
    device = screen_V3.device
    lights = lighting(scene.rig, scene.rig_flip, device)
    shadows = ShadowMap(figure, lights)
    chosen = choose_samples(keys_HW, figure.triangles, supersample)
    height, width = keys_HW.shape[0] // supersample, keys_HW.shape[1] // supersample
    total = torch.zeros(height * width, 4, device=device)
    for start in range(0, len(chosen.y_N), _CHUNK):
        part = _slice(chosen, start, start + _CHUNK)
        ids, weights, triangle = weights_at(screen_V3, figure.triangles.faces_T3, keys_HW, part)
        values = interpolate(figure.shading_V17, ids, weights)
        frags = fragments(values, figure.triangles.material_T[triangle], CAMERA_Z)
        colour = shade(frags, figure, person, scene, lights, shadows)
        alpha = part.weight_N[:, None]
        pixel = (part.y_N // supersample) * width + part.x_N // supersample
        total.index_add_(0, pixel, torch.cat([colour * alpha, alpha], 1))
    return total.view(height, width, 4)


def _slice(s: Samples, start: int, stop: int) -> Samples:
    offset = s.offset_N[start:stop] if isinstance(s.offset_N, Tensor) else s.offset_N
    return Samples(s.y_N[start:stop], s.x_N[start:stop], s.weight_N[start:stop], offset)


def face_truth(
    figure: Figure, person: Person, scene: Scene, camera: Camera, keys_HW: Tensor, supersample: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(face box (4,), five keypoints (5, 2), landmarks (68, 2), visible (68,)) in output pixels."""
    points, eyes = landmarks.landmarks(person, figure.features, scene, figure.head)
    on_screen = camera.project(figure.pose_head_points(torch.cat([points, eyes])))
    visible = _visible(on_screen[:68], keys_HW)
    pixels = on_screen[:, :2] / supersample
    order = [68, 69, landmarks.NOSE_TIP, landmarks.MOUTH_LEFT, landmarks.MOUTH_RIGHT]
    outline = (
        camera.project(figure.pose_head_points(landmarks.face_outline(figure.head)))[:, :2] / supersample
    )
    box = torch.cat([outline.amin(0), outline.amax(0)])
    return box, pixels[order], pixels[:68], visible


def _visible(on_screen_N3: Tensor, keys_HW: Tensor) -> Tensor:
    """(N,) bool: inside the picture and nothing nearer in the z-buffer."""
    height, width = keys_HW.shape
    x, y, near = on_screen_N3.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = x.long().clamp(0, width - 1), y.long().clamp(0, height - 1)
    nearest = (keys_HW[row, column] >> 32).float() / DEPTH_STEPS
    distance = _NEARNESS / near
    tolerance = _NEARNESS / (distance - _SURFACE_TOLERANCE) - near
    return inside & (near + tolerance >= nearest)
