"""The picture of a training set's texture groups (as Fig. 3 of the paper): histograms and example lesions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..io import atomic_write
from ..texture import BIN_CENTERS
from .cases import LesionCase
from .texture_groups import LEAST_VOXELS, group, lesion_histograms

EXAMPLES = 6


def group_figure(
    cases: Sequence[LesionCase], channel: int, names: Sequence[str], path: Path, seed: int = 0
) -> dict[str, int]:
    """Draw each group's mean histogram, its middle 80 %, and the lesions nearest its centre; returns group sizes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    large = [case for case in cases if case.mask[channel].sum() >= LEAST_VOXELS]
    histograms = lesion_histograms(large, channel)
    member = group(histograms, len(names), seed)
    grey = large[0].window.restore(BIN_CENTERS)
    figure, axes = plt.subplots(
        len(names), EXAMPLES + 1, figsize=(13, 2 * len(names)), width_ratios=[2.4] + [1] * EXAMPLES, squeeze=False
    )
    for index, (row, name) in enumerate(zip(axes, names, strict=True)):
        mine = np.flatnonzero(member == index)
        low, high = np.percentile(histograms[mine], (10, 90), axis=0)
        mean = histograms[mine].mean(axis=0)
        row[0].bar(grey, mean, width=grey[1] - grey[0], color="tab:blue", alpha=0.7)
        row[0].errorbar(
            grey, mean, [np.maximum(mean - low, 0), np.maximum(high - mean, 0)], fmt="none", ecolor="0.4", lw=0.8
        )
        row[0].set_title(f"{name}: {len(mine)} lesions, mean {mean @ grey:.0f} {large[0].window.unit}", fontsize=9)
        row[0].tick_params(labelsize=7)
        nearest = mine[np.argsort(((histograms[mine] - mean) ** 2).sum(axis=1))[:EXAMPLES]]
        for axis, chosen in zip(row[1:], nearest, strict=False):
            k = int(large[chosen].mask[channel].sum(axis=(1, 2)).argmax())
            axis.imshow(large[chosen].image[k], cmap="gray", vmin=-1, vmax=1)
            axis.contour(large[chosen].mask[channel][k], [0.5], colors="tab:red", linewidths=0.6)
        for axis in row[1:]:
            axis.axis("off")
    figure.tight_layout()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)
    return {name: int((member == index).sum()) for index, name in enumerate(names)}
