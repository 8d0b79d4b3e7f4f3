"""People as numbers: pictures whose colours say who they show, and embedders that read them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from portrait_lora.faces.pack import Role
from portrait_lora.records import Face

WIDTH = 64
NOISE = 0.6
"""Of a picture against its person: cosines of about 0.73 within, 0 between."""
NO_FACE, TWO_FACES = 254, 255


def vector(person: int, picture: int, role: str, noise: float = NOISE) -> np.ndarray:
    """A unit vector near that of the person."""
    kind = 0 if role == "select" else 1
    base = np.random.default_rng([person, kind]).normal(size=WIDTH)
    own = base + noise * np.random.default_rng([person, picture, kind, 1]).normal(size=WIDTH)
    return (own / np.linalg.norm(own)).astype(np.float32)


class MadeUp:
    """An analyzer: red says the person (254 no face, 255 two faces), green the picture."""

    def __init__(self, role: Role, pack: Any = None) -> None:
        self.embedder: Role = role
        self.embedder_id = f"made-up-{role}"
        self.pack = pack or SimpleNamespace(digest="d")

    def find(self, image_rgb: np.ndarray) -> list[Face]:
        red = int(image_rgb[0, 0, 0])
        count = {NO_FACE: 0, TWO_FACES: 2}.get(red, 1)
        points = np.array([[3, 3], [7, 3], [5, 5], [3, 7], [7, 7]], np.float32)
        return [
            Face((0, 0, 8, 8), 1.0, points, self.embed(image_rgb, points), self.embedder_id, 1.0, 1.0)
        ] * count

    def covered_face(self, image_rgb: np.ndarray) -> None:
        """Never one."""

    def parts(self, image_rgb: np.ndarray, face: Face) -> None:
        """Never any."""

    def impostor_embeddings(self) -> np.ndarray:
        raise NotImplementedError

    def embed(self, image_rgb: np.ndarray, keypoints_px: np.ndarray) -> np.ndarray:
        return vector(int(image_rgb[0, 0, 0]), int(image_rgb[0, 0, 1]), self.embedder)


def open_made_up(role: Role) -> Any:
    """In the place of `open_analyzer`."""
    return MadeUp(role)


def write_people(folder: Path, pictures: dict[str, list[tuple[int, int]]]) -> Path:
    """One subfolder per name with pictures of (person, picture)."""
    for name, own in pictures.items():
        (folder / name).mkdir(parents=True)
        for i, (person, picture) in enumerate(own):
            Image.new("RGB", (8, 8), (person, picture, i)).save(folder / name / f"{i}.png")
    return folder
