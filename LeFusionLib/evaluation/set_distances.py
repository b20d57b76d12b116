"""How far made lesions are, as a set, from the real ones in whose place they were made."""

from collections.abc import Sequence

import numpy as np

from .lesion_features import Appearance, appearance, crop_around, random_directions, scale_of, set_distance
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
        real = [_seen(lesion, lesion.real.image, index) for lesion in there]
        made = [_seen(lesion, lesion.made, index) for lesion in there]
        directions = random_directions(real[0].points.shape[1], np.random.default_rng(1))
        swd, kid = set_distance(real, made, scale_of(real), directions)
        found[name] = {"swd": round(swd, 3), "kid": round(kid, 4)}
    return found


def _seen(lesion: Remade, image: np.ndarray, index: int) -> Appearance:
    return appearance(*crop_around(lesion.real.window.restore(image), lesion.real.mask[index]))
