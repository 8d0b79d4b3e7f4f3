import numpy as np
from skimage import data

from scripts.evaluate.photograph_sets import WAYS


def test_every_way_of_copying_changes_the_picture_and_keeps_it_one():
    original = data.astronaut()
    for way, (make, quality) in WAYS.items():
        copy = np.clip(make(original), 0, 255)
        assert copy.ndim == 3 and copy.shape[2] == 3, way
        assert quality == 30 or copy.shape != original.shape or np.abs(copy - original).mean() > 1, way
