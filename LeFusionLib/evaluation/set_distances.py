"""How far made lesions are, as a set, from the real ones in whose place they were made."""

from collections.abc import Sequence

import numpy as np

from .lesion_features import (
    POINTS,
    crop_around,
    filter_bank,
    kernel_distance,
    neighbourhoods,
    random_directions,
    sliced_wasserstein,
)
from .remade import Remade


def set_distances(lesions: Sequence[Remade], classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """{class: {"swd": of 3x3x3 neighbourhoods, in grey values; "kid": of `filter_bank`, scaled by the real ones'
    spread}}; None where fewer than two lesions have the class. The same places are looked at in both."""
    found: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(classes):
        there = [lesion for lesion in lesions if lesion.real.mask[index].any()]
        if len(there) < 2:
            found[name] = {"swd": None, "kid": None}
            continue
        real: list[tuple[np.ndarray, np.ndarray]] = []
        made: list[tuple[np.ndarray, np.ndarray]] = []
        for lesion in there:
            for crops, image in ((real, lesion.real.image), (made, lesion.made)):
                crops.append(crop_around(lesion.real.window.restore(image), lesion.real.mask[index]))
        features, others = (np.stack([filter_bank(*crop) for crop in crops]) for crops in (real, made))
        center, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
        kid = kernel_distance((features - center) / spread, (others - center) / spread)
        points, neighbours = _points(real), _points(made)
        swd = sliced_wasserstein(points, neighbours, random_directions(points.shape[1], np.random.default_rng(1)))
        found[name] = {"swd": round(swd, 3), "kid": round(kid, 4)}
    return found


def _points(crops: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.concatenate([neighbourhoods(*crop, POINTS, np.random.default_rng(0)) for crop in crops])
