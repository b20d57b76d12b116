"""The groups of textures in a training set: the presets of a model trained on it (LeFusion, Fig. 3)."""

from collections.abc import Sequence

import numpy as np

from ..errors import LeFusionError
from ..texture import TextureHistogram, TexturePresets
from .cases import LesionCase
from .settings import TrainSettings

# Smaller lesions are mostly rim: their histograms show partial volume, not tissue.
LEAST_VOXELS = 100


def class_presets(cases: Sequence[LesionCase], settings: TrainSettings) -> dict[str, TexturePresets]:
    """The presets of every class for which the settings name some."""
    return {
        name: texture_presets(
            cases, settings.spec.classes.index(name), list(shares), list(shares.values()), settings.seed
        )
        for name, shares in settings.textures.items()
    }


def texture_presets(
    cases: Sequence[LesionCase], channel: int, names: Sequence[str], probabilities: Sequence[float], seed: int = 0
) -> TexturePresets:
    """Cluster the lesions' histograms into `names`, darkest first, by k-means on their cumulative sums.

    Distances between cumulative sums are Wasserstein-like: grey values that are near count as near, which plain
    histograms do not know. The preset is the mean histogram of its group.
    """
    histograms = lesion_histograms(cases, channel)
    if len(histograms) < len(names):
        raise LeFusionError(
            f"{len(names)} texture groups need as many lesions of {LEAST_VOXELS} voxels; there are {len(histograms)}."
        )
    group_of = group(histograms, len(names), seed)
    centres = [TextureHistogram(tuple(histograms[group_of == g].mean(axis=0))) for g in range(len(names))]
    return TexturePresets(dict(zip(names, centres, strict=True)), dict(zip(names, probabilities, strict=True)))


def lesion_histograms(cases: Sequence[LesionCase], channel: int) -> np.ndarray:
    """(N, 16): one row for each lesion of at least 100 voxels."""
    masks = [(case.image, case.mask[channel]) for case in cases]
    return np.array([TextureHistogram.of(image[m]).weights for image, m in masks if m.sum() >= LEAST_VOXELS])


def group(histograms: np.ndarray, groups: int, seed: int) -> np.ndarray:
    """The group (N,) of each histogram (N, 16), numbered from the darkest to the brightest."""
    from scipy.cluster.vq import kmeans2

    cumulative = histograms.cumsum(axis=1)
    # The best of several starts: k-means finds only the nearest valley.
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for start in range(10):
        centres, member = kmeans2(cumulative, groups, minit="++", seed=seed + start)
        spread = float(((cumulative - centres[member]) ** 2).sum())
        if len(np.unique(member)) == groups and (best is None or spread < best[0]):
            best = spread, centres, member
    if best is None:
        raise LeFusionError(f"The textures do not fall into {groups} groups; use fewer preset names.")
    order = np.argsort(np.argsort(-best[1].sum(axis=1)))  # a darker texture has a larger cumulative sum
    return order[best[2]]
