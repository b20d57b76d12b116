"""Are drawn lesion shapes lifelike? Their features, variety and nearness to the training shapes beside real ones.

Every real lesion that was held out lends its diameter to a control sphere, in which every drawer draws a lesion; so
sets are compared that agree in size, and what differs is the shape.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

from ..errors import LeFusionError
from ..geometry import ControlSphere
from ..lesion_mask import LesionMask
from ..level_set import largest_pieces
from ..volume import Volume
from .shape_features import FEATURES, ShapeFeatures, lesion_of, shape_features
from .shape_figure import features_figure, slices_figure, surfaces_figure
from .shape_overlap import MOST_SHAPES, mean_pairwise_dice, nearest_dice, own_size, same_size
from .shape_tables import write_tables

logger = logging.getLogger(__name__)

Masks = Sequence[np.ndarray]  # of (D, H, W) bool
Draw = Callable[[Volume, ControlSphere, int], LesionMask]  # volume, sphere, seed

SPACING_MM = (1.0, 1.0, 1.0)
LEAST_VOXELS = 8  # a smaller lesion has no shape
LEAST_GRID = 48  # voxels along an axis of the volume in which shapes are drawn
ROOM_VOXELS = 3  # on each side of the sphere
LUNG_HU = -850
SPLITS = 20  # into random halves, averaged
REAL, HALVES, TRAINING = "real", "real, one half against the other", "real, training"
DIAMETER_EDGES_MM = (0, 4, 6, 8, 10, 15, 20, 30, np.inf)
NEAR_VOXELS = 1.0  # of the diameter asked for; a lesion's border is no finer


def evaluate_shapes(
    real_held_out: Masks, real_training: Masks, drawers: Mapping[str, Draw], seed: int, out_stem: str | Path
) -> dict[str, Any]:
    """Compare what each drawer draws with real lesions that it has not seen; write tables and pictures.

    real_held_out, real_training: real masks (D, H, W) at 1 mm, of different patients; of each the largest piece counts.
    drawers: {name: draw(volume, sphere, seed) -> LesionMask}.
    Writes <out_stem>.csv (one line per lesion), .json (the summary, which is returned), .md (its tables),
    -surfaces.png, -slices.png and -features.png, each whole or not at all.
    """
    stem = Path(out_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    taken = {REAL, HALVES, TRAINING} & drawers.keys()
    if taken:
        raise LeFusionError(
            f"The name {', '.join(taken)} is taken by the real lesions. Call the drawer something else."
        )
    held_out, training = real_shapes(real_held_out), real_shapes(real_training)
    features, learnt = {REAL: measure(held_out), TRAINING: measure(training)}, same_size(training)
    drawn = {name: draw_matching(held_out, draw, seed) for name, draw in drawers.items()}
    sets = {REAL: held_out, **drawn}
    features |= {name: measure(masks) for name, masks in drawn.items()}
    nearest = {name: nearest_dice(masks, learnt) for name, masks in sets.items()}
    summary = {
        "seed": seed,
        "lesions": {name: len(found) for name, found in features.items()},
        "features": compare_features(features, seed),
        "variety": {name: variety(masks, seed) for name, masks in sets.items()},
        "nearest_training_shape": {name: nearness(values) for name, values in nearest.items()},
        "diameters": {name: delivered_diameters(_diameter_pairs(features, name)) for name in drawn},
    }
    write_tables(features, nearest, summary, stem)
    surfaces_figure(sets, stem.with_name(stem.name + "-surfaces.png"))
    slices_figure(sets, stem.with_name(stem.name + "-slices.png"))
    features_figure({name: features[name] for name in sets}, stem.with_name(stem.name + "-features.png"))
    return summary


def real_shapes(masks: Masks) -> list[np.ndarray]:
    """The largest piece of every mask (D, H, W), where it has at least 8 voxels."""
    pieces = [largest_pieces(np.asarray(mask, dtype=bool)) for mask in masks]
    shapes = [piece for piece in pieces if np.count_nonzero(piece) >= LEAST_VOXELS]
    if len(shapes) < 2:
        raise LeFusionError(
            f"Of {len(masks)} real masks {len(shapes)} have a piece of at least {LEAST_VOXELS} voxels; "
            "shapes are compared from 2 on. Give more lesions."
        )
    return shapes


def draw_matching(real_masks: Masks, draw: Draw, seed: int = 0) -> list[np.ndarray]:
    """For each real mask (D, H, W) at 1 mm, a lesion drawn in a sphere of its diameter: (n, n, n) bool, in order.

    The sphere's centre falls anywhere between the voxels, as it would in use. The same seed gives every drawer the
    same spheres.
    """
    diameters = [lesion_of(mask, SPACING_MM).diameter_mm() for mask in real_masks]
    size = max(LEAST_GRID, int(np.ceil(max(diameters))) + 2 * ROOM_VOXELS)
    volume = Volume(np.full((size,) * 3, LUNG_HU, dtype=np.int16), np.eye(4))
    rng = np.random.default_rng(seed)
    drawn = []
    for number, diameter_mm in enumerate(diameters):
        center = (size - 1) / 2 + rng.uniform(-0.5, 0.5, 3)
        sphere = ControlSphere(tuple(center), diameter_mm)
        drawn.append(draw(volume, sphere, seed + number).union)
        if (number + 1) % 50 == 0:
            logger.info("%d of %d shapes drawn", number + 1, len(diameters))
    return drawn


def measure(masks: Masks, spacing_mm: tuple[float, float, float] = SPACING_MM) -> list[ShapeFeatures]:
    """The features of every mask (D, H, W)."""
    return [shape_features(mask, spacing_mm) for mask in masks]


def compare_shapes(
    real: Masks, drawn: Mapping[str, Masks], spacing_mm: tuple[float, float, float] = SPACING_MM, seed: int = 0
) -> list[dict[str, Any]]:
    """`compare_features` for masks (D, H, W) on one spacing: `real` ones against each set of `drawn` ones."""
    return compare_features({name: measure(masks, spacing_mm) for name, masks in {REAL: real, **drawn}.items()}, seed)


def compare_features(sets: Mapping[str, Sequence[ShapeFeatures]], seed: int = 0) -> list[dict[str, Any]]:
    """How far each set's features are from the set REAL: one row per feature and set.

    A row holds the set's `mean`, the Wasserstein-1 `distance` to the real set in the feature's unit, and `distance_sd`,
    the same in standard deviations of the real set. The yardstick is the row HALVES: two random halves of the real set
    against each other, the mean of SPLITS splits; a set no farther than that cannot be told from the real one by this
    feature alone.
    """
    values = {name: np.array([astuple(features) for features in found]) for name, found in sets.items()}
    real = values.pop(REAL)
    rng = np.random.default_rng(seed)
    halves = [np.array_split(rng.permutation(len(real)), 2) for _ in range(SPLITS)]
    rows: list[dict[str, Any]] = []
    for column, feature in enumerate(FEATURES):
        mine = real[:, column]
        sd = float(mine.std()) or 1.0  # all equal: as they are
        between = float(np.mean([wasserstein_distance(mine[a], mine[b]) for a, b in halves]))
        apart = {name: float(wasserstein_distance(mine, found[:, column])) for name, found in values.items()}
        means = {HALVES: mine.mean()} | {name: found[:, column].mean() for name, found in values.items()}
        rows += [
            {"feature": feature, "set": name, "mean": float(means[name]), "distance": d, "distance_sd": d / sd}
            for name, d in {HALVES: between, **apart}.items()
        ]
    return rows


def variety(masks: Masks, seed: int = 0) -> dict[str, float]:
    """Mean pairwise Dice with centroids aligned, at their own size and brought to one size; lower is more varied.

    Sets of equal length are compared on the same, randomly chosen places of the list.
    """
    chosen = np.random.default_rng(seed).permutation(len(masks))[:MOST_SHAPES]
    some = [masks[index] for index in chosen]
    return {"own_size": mean_pairwise_dice(own_size(some)), "same_size": mean_pairwise_dice(same_size(some))}


def nearness(nearest: np.ndarray) -> dict[str, float]:
    """Of the Dice to the nearest training shape: median, the 95th percentile and the highest.

    A drawer that copies comes close to 1. One that does not is about as near as real lesions that were held out, or
    as hand-crafted ones, which know no training shape: the rounder a shape, the nearer it is to all others.
    """
    return {
        "median": float(np.median(nearest)),
        "percentile_95": float(np.percentile(nearest, 95)),
        "highest": float(nearest.max()),
    }


def delivered_diameters(pairs: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    """How exactly the size is met: from (asked, delivered) in mm, one row per range of the diameter asked for."""
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    rows = []
    for low, high in zip(DIAMETER_EDGES_MM, DIAMETER_EDGES_MM[1:], strict=False):
        asked, got = table[(table[:, 0] >= low) & (table[:, 0] < high)].T
        if not len(asked):
            continue
        off = got - asked
        rows.append(
            {
                "asked_mm": f"{low} to {high}" if np.isfinite(high) else f"{low} and more",
                "lesions": len(asked),
                "asked_mean_mm": float(asked.mean()),
                "delivered_mean_mm": float(got.mean()),
                "mean_error_mm": float(off.mean()),
                "mean_absolute_error_mm": float(np.abs(off).mean()),
                "within_a_voxel": float((np.abs(off) <= NEAR_VOXELS).mean()),
            }
        )
    return rows


def _diameter_pairs(features: Mapping[str, Sequence[ShapeFeatures]], name: str) -> list[tuple[float, float]]:
    """(asked, delivered): each real lesion lent its diameter to the drawn one at its place in the list."""
    return [(a.diameter_mm, d.diameter_mm) for a, d in zip(features[REAL], features[name], strict=True)]
