"""Lesion shapes made by hand: the paper's baseline, and a mask where no mask model is at hand.

The LeFusion paper describes the hand-crafted masks of Hu et al. (2023) as the overlap of several ellipsoids followed by
random morphological operations. We build that once per lesion in a unit ball of the world, as a smooth signed distance,
and read it at the voxel centres of any grid: nothing of the shape depends on how the volume is stored.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import LeFusionError
from ..geometry import ControlSphere, minimum_enclosing_sphere, ras_from_kji
from ..volume import Volume

CELLS = 40  # of the unit ball's grid along an axis
LEAST_CELLS = 500  # of a shape; most have thousands
REACH = 1.25  # half its width, in radii
SIZE_REACHED = 0.95  # of the diameter asked for, a voxel's own width included
SPICULATED_SHARE = 0.3  # of the lesions get spicules
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)  # faces, edges and corners, as LesionMask.components counts


def handcrafted_shape(
    volume: Volume, sphere: ControlSphere, rng: np.random.Generator, boundary: np.ndarray | None = None
) -> np.ndarray:
    """An irregular lesion, (D, H, W) bool on the volume's grid, as wide as the sphere and wholly inside it.

    `boundary` (D, H, W) bool keeps it in an organ. It is one piece and never empty; in a sphere about a voxel wide it
    may be a single voxel. Equal `rng` states give the same lesion in the world, on whatever grid it is drawn.
    """
    shape = UnitShape.random(rng)  # first, so that the dice fall the same on every grid
    allowed = sphere.mask_on(volume)
    if boundary is not None:
        if np.shape(boundary) != volume.shape:
            raise LeFusionError(
                f"The boundary has shape {np.shape(boundary)}, the volume {volume.shape}. Give it on the volume's grid."
            )
        allowed &= np.asarray(boundary, dtype=bool)
    kji = np.argwhere(allowed)
    if len(kji) == 0:
        raise LeFusionError(
            f"The sphere of {sphere.diameter_mm:g} mm at {sphere.center_ras} holds no voxel"
            + (" of the volume." if boundary is None else " inside the boundary.")
            + " Move it, or make it larger."
        )
    places = ras_from_kji(volume.ijk_to_ras, kji) - sphere.center_ras  # mm
    level_mm = shape.level(places / (sphere.diameter_mm / 2)) * sphere.diameter_mm / 2
    level_mm -= max(0.0, level_mm.min())  # the deepest voxel always
    voxel_mm = abs(np.linalg.det(volume.ijk_to_ras[:3, :3])) ** (1 / 3)
    low = kji.min(axis=0)
    size = kji.max(axis=0) - low + 1
    # Thin tips fall between coarse voxels. Then the voxels that the shape grazes count too, until it is wide enough.
    for grazed_mm in voxel_mm * np.array([0, 0.125, 0.25, 0.375, 0.5]):
        box = np.zeros(size, dtype=bool)
        box[tuple((kji[level_mm <= grazed_mm] - low).T)] = True
        box = largest_component(box)
        reached = places[box[tuple((kji - low).T)]]
        if 2 * minimum_enclosing_sphere(reached)[1] + voxel_mm >= SIZE_REACHED * sphere.diameter_mm:
            break
    lesion = np.zeros(volume.shape, dtype=bool)
    lesion[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))] = box
    return lesion


@dataclass(frozen=True, eq=False)
class UnitShape:
    """A shape whose smallest enclosing sphere is the unit sphere: signed distance over a cube in (R, A, S).

    `distance` (CELLS, CELLS, CELLS); `center` (3,), `radius`: that sphere in the cube, which runs from -REACH to REACH.
    """

    distance: np.ndarray
    center: np.ndarray
    radius: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "UnitShape":
        """Ellipsoids that overlap, random morphology, sometimes spicules, then smoothing.

        Now and then morphology and roughness leave next to nothing; then the dice are thrown again.
        """
        while (shape := cls._attempt(rng)) is None:
            pass
        return shape

    @classmethod
    def _attempt(cls, rng: np.random.Generator) -> "UnitShape | None":
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
        solid = largest_component(solid)
        roughness = ndimage.gaussian_filter(rng.standard_normal(solid.shape), rng.uniform(2.5, 4.5))
        distance = ndimage.gaussian_filter(_signed_distance(solid), rng.uniform(0.8, 1.5))
        distance += roughness / roughness.std() * rng.uniform(0.2, 1.1)
        distance *= 2 * REACH / (CELLS - 1)
        if np.count_nonzero(distance < 0) < LEAST_CELLS:
            return None
        # what the roughness has cut off is pushed outside, so that the enclosing sphere is that of one piece
        piece = ndimage.binary_dilation(largest_component(distance < 0), NEIGHBOURS)
        distance = np.where(piece, distance, np.maximum(distance, 2 * REACH / CELLS))
        center, radius = minimum_enclosing_sphere(_surface(points, distance))
        return cls(distance, center, radius)

    def level(self, places: np.ndarray) -> np.ndarray:
        """Signed distance (N,), below 0 inside, at places (N, 3) in radii of the control sphere."""
        cells = (places * self.radius + self.center + REACH) * (CELLS - 1) / (2 * REACH)
        return ndimage.map_coordinates(self.distance, cells.T, order=1, mode="nearest")


def largest_component(mask: np.ndarray, neighbours: np.ndarray = NEIGHBOURS) -> np.ndarray:
    """The largest piece of a bool array, the first of equals; `neighbours` (3, 3, 3) says what touches a voxel."""
    parts, count = ndimage.label(mask, structure=neighbours)
    if count < 2:
        return mask
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1


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


def _surface(points: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Points (N, 3) on the zero level: the cells just inside it, moved outwards along the gradient."""
    inside = distance < 0
    rim = inside & ~ndimage.binary_erosion(inside)
    slope = np.stack(np.gradient(distance), axis=-1)[rim]
    slope /= np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-9)
    return points[rim] - slope * distance[rim][:, None]
