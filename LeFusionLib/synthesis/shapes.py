"""Lesion shapes made by hand: the paper's baseline, and a mask where no mask model is at hand.

The LeFusion paper describes the hand-crafted masks of Hu et al. (2023) as the overlap of several ellipsoids followed by
random morphological operations. We build that once per lesion as a smooth signed distance in the world: nothing of the
shape depends on how a volume is stored.
"""

import numpy as np
from scipy import ndimage

from ..geometry import ControlSphere, PatchFrame
from ..level_set import NEIGHBOURS, LevelSet, largest_pieces

CELLS = 40  # of the unit ball's grid along an axis
LEAST_CELLS = 500  # of a shape; most have thousands
REACH = 1.25  # half its width, in radii
SPICULATED_SHARE = 0.3  # of the lesions get spicules


def handcrafted_shape(sphere: ControlSphere, rng: np.random.Generator) -> LevelSet:
    """An irregular lesion whose smallest enclosing sphere is `sphere`: ellipsoids that overlap, random morphology,
    sometimes spicules, then smoothing. Equal `rng` states give the same lesion.

    Now and then morphology and roughness leave next to nothing; then the dice are thrown again.
    """
    while (distance := _attempt(rng)) is None:
        pass
    cell = 2 * REACH / (CELLS - 1)
    matrix = np.diag([cell, cell, cell, 1.0])
    matrix[:3, 3] = -REACH
    return LevelSet(distance[None], PatchFrame(distance.shape, matrix)).fitted_to(sphere)


def _attempt(rng: np.random.Generator) -> np.ndarray | None:
    """A signed distance (CELLS, CELLS, CELLS) over a cube of about 2 x 2 x 2, below 0 inside."""
    points = np.stack(np.meshgrid(*[np.linspace(-REACH, REACH, CELLS)] * 3, indexing="ij"), axis=-1)
    solid = _ellipsoid(points, np.zeros(3), rng.uniform(0.44, 0.72, 3), rng)
    for _ in range(rng.integers(2, 7)):
        center = _direction(rng) * rng.uniform(0.20, 0.58)
        solid |= _ellipsoid(points, center, rng.uniform(0.16, 0.46, 3), rng)
    for _ in range(rng.integers(1, 4)):
        solid = _morphed(solid, str(rng.choice(["open", "close", "grow", "shrink"])), rng.uniform(1.0, 3.5))
    if rng.random() < SPICULATED_SHARE:
        for _ in range(rng.integers(5, 13)):
            solid |= _spicule(points, _direction(rng), rng.uniform(0.70, 0.95), rng.uniform(0.10, 0.16))
    solid = largest_pieces(solid)
    roughness = ndimage.gaussian_filter(rng.standard_normal(solid.shape), rng.uniform(2.5, 4.5))
    distance = ndimage.gaussian_filter(_signed_distance(solid), rng.uniform(0.8, 1.5))
    distance += roughness / roughness.std() * rng.uniform(0.2, 1.1)
    distance *= 2 * REACH / (CELLS - 1)
    if np.count_nonzero(distance < 0) < LEAST_CELLS:
        return None
    # what the roughness has cut off is pushed outside, so that the enclosing sphere is that of one piece
    piece = ndimage.binary_dilation(largest_pieces(distance < 0), NEIGHBOURS)
    return np.where(piece, distance, np.maximum(distance, 2 * REACH / CELLS))


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _ellipsoid(points: np.ndarray, center: np.ndarray, semi_axes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which points (..., 3) lie in an ellipsoid that is turned at random."""
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return (((points - center) @ turn / semi_axes) ** 2).sum(axis=-1) < 1


def _spicule(points: np.ndarray, direction: np.ndarray, length: float, base: float) -> np.ndarray:
    """Which points lie in a cone from the centre that thins from `base` to a third of it."""
    along = points @ direction
    across = np.sqrt(np.maximum((points**2).sum(axis=-1) - along**2, 0))
    return (along > 0) & (along < length) & (across < base * (1 - 0.67 * along / length))


def _signed_distance(solid: np.ndarray) -> np.ndarray:
    """Cells to the surface, negative inside."""
    return ndimage.distance_transform_edt(~solid) - ndimage.distance_transform_edt(solid)


def _morphed(solid: np.ndarray, operation: str, cells: float) -> np.ndarray:
    """Opening, closing, dilation or erosion with a ball of `cells`; what would leave nothing is not done."""
    steps = {"open": (-cells, cells), "close": (cells, -cells), "grow": (cells,), "shrink": (-cells,)}[operation]
    done = solid
    for step in steps:
        done = _signed_distance(done) < step
        if not done.any():
            return solid
    return done
