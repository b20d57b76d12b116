"""How alike lesion shapes are when they lie on top of each other: among themselves, and to those learnt from."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .shape_features import lesion_of

CELLS = 24  # of the common grid along an axis, for shapes brought to one size
REACH = 1.25  # its width in diameters of the enclosing sphere, since a centroid is not that sphere's middle
MOST_SHAPES = 100  # compared among themselves: 4950 pairs
ROWS_AT_ONCE = 256


def on_common_grid(mask: np.ndarray, cell: float, cells: int) -> np.ndarray:
    """A mask (D, H, W) read on cells^3 points `cell` voxels apart, its centroid in their middle: (cells^3,) bool.

    Linear between voxels, inside from one half; what lies beyond the grid is cut off.
    """
    solid = mask[lesion_of(mask, (1, 1, 1)).bounding_box()]
    center = np.argwhere(solid).mean(axis=0)
    offsets = (np.arange(cells) - (cells - 1) / 2) * cell
    places = np.stack(np.meshgrid(*(center[:, None] + offsets), indexing="ij"))
    return (ndimage.map_coordinates(solid.astype(np.float32), places, order=1, mode="grid-constant") >= 0.5).ravel()


def same_size(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Every mask with its centroid in the middle and its enclosing sphere CELLS / REACH wide, (N, CELLS^3) bool."""
    diameters = [lesion_of(mask, (1, 1, 1)).diameter_mm() for mask in masks]
    rows = [on_common_grid(m, REACH * voxels / CELLS, CELLS) for m, voxels in zip(masks, diameters, strict=True)]
    return np.array(rows)


def own_size(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Every mask with its centroid in the middle, voxels as they are; (N, n^3) bool, n the largest extent and a bit."""
    boxes = [lesion_of(mask, (1, 1, 1)).bounding_box() for mask in masks]
    cells = max(axis.stop - axis.start for box in boxes for axis in box) + 4
    return np.array([on_common_grid(mask, 1.0, cells) for mask in masks])


def dice_table(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dice overlap (M, N) of every row of `first` (M, cells) bool with every row of `second` (N, cells) bool."""
    columns = second.astype(np.float32)
    shared = np.vstack(
        [first[at : at + ROWS_AT_ONCE].astype(np.float32) @ columns.T for at in range(0, len(first), ROWS_AT_ONCE)]
    )
    sizes = first.sum(axis=1)[:, None] + second.sum(axis=1)[None]
    return 2 * shared / np.maximum(sizes, 1)


def mean_pairwise_dice(rows: np.ndarray) -> float:
    """Mean Dice of all pairs of different rows (N, cells), N >= 2: 1 where all shapes are the same."""
    table = dice_table(rows, rows)
    return float(table[~np.eye(len(rows), dtype=bool)].mean())


def nearest_dice(masks: Sequence[np.ndarray], training: np.ndarray) -> np.ndarray:
    """For each mask the highest Dice with any training shape (`same_size` of the training masks), (N,)."""
    return dice_table(same_size(masks), training).max(axis=1)
