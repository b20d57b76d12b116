"""A lesion's surface as a smooth signed distance in the world: it is moved, scaled and read on any grid of voxels
without stair-steps."""

from dataclasses import dataclass, replace

import numpy as np

from .geometry import ControlSphere, Grid, PatchFrame, kji_from_ras, minimum_enclosing_sphere, ras_from_kji
from .lesion_mask import LesionMask

CELLS = 40  # along the longest side of what is kept; a lesion of 20 mm has cells of half a millimetre
MARGIN = 3  # cells kept around it
SMOOTHING_VOXELS = 0.6  # takes the stair-steps from a mask of voxels
SMOOTHING_CELLS = 0.8  # and from the distance to its cells
SIZE_REACHED = 0.95  # of the diameter asked for, a voxel's own width included
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)  # faces, edges and corners, as LesionMask.components counts


@dataclass(frozen=True, eq=False)
class LevelSet:
    """`level_mm` (L, d, h, w): each class's distance to its surface in mm, below 0 inside; and its place in the world.

    `scale` multiplies the distances: moving and scaling a lesion changes its frame, not its numbers.
    """

    level_mm: np.ndarray
    frame: PatchFrame
    scale: float = 1.0

    @classmethod
    def of(cls, lesion: LesionMask) -> "LevelSet":
        """The smooth surface of a mask on any grid, of the same volume."""
        level = cls.of_occupancy(lesion.array.astype(np.float32), PatchFrame(lesion.shape, lesion.ijk_to_ras))
        assert level is not None  # a lesion mask has voxels
        return level

    @classmethod
    def of_occupancy(cls, occupancy: np.ndarray, frame: PatchFrame, pieces: tuple[int, ...] = ()) -> "LevelSet | None":
        """The surface of `occupancy` (L, D, H, W) in [0, 1], the share of each voxel that is lesion; None without any.

        Smoothed with the volume of each class kept, holes filled; of class l the `pieces[l]` largest pieces stay
        (all where not given). Cells are cubes along the patient's axes.
        """
        from scipy import ndimage

        if not (occupancy > 0.5).any():
            return None
        cells = _cells_around(occupancy, frame)
        cell_mm, voxel_mm3 = cells.spacing_mm[0], float(np.prod(frame.spacing_mm))
        positions = cells.positions_on(frame).T
        levels = []
        for number, share in enumerate(occupancy):
            smooth = ndimage.gaussian_filter(share.astype(np.float32), SMOOTHING_VOXELS, mode="nearest")
            fine = ndimage.map_coordinates(smooth, positions, order=3, mode="constant").reshape(cells.shape)
            voxels = int(np.count_nonzero(share > 0.5))  # not the sum: a trace of lesion in all the air would count
            wanted = round(voxels * voxel_mm3 / cell_mm**3) or min(voxels, 1)
            inside = ndimage.binary_fill_holes(_largest_values(fine, wanted))
            if pieces:
                inside = largest_pieces(inside, pieces[number])
            levels.append(smooth_distance(inside) * cell_mm)
        return cls(np.stack(levels).astype(np.float32), cells)

    @property
    def union(self) -> np.ndarray:
        """(d, h, w): the distance to all classes together."""
        return self.level_mm.min(axis=0)

    def volume_mm3(self) -> float:
        """Of all classes together."""
        return float((self.union < 0).sum() * np.prod(self.frame.spacing_mm))

    def enclosing_sphere(self) -> ControlSphere:
        """The smallest sphere that holds the surface."""
        center, radius = minimum_enclosing_sphere(ras_from_kji(self.frame.ijk_to_ras, surface_points(self.union)))
        return ControlSphere(tuple(center), 2 * radius)

    def fitted_to(self, sphere: ControlSphere, most: float = np.inf) -> "LevelSet":
        """Moved and scaled so that `sphere` is its smallest enclosing sphere; by the share `most` of it at most."""
        own = self.enclosing_sphere()
        scale = float(np.clip(sphere.diameter_mm / own.diameter_mm, 1 - most, 1 + most))
        shift = np.subtract(sphere.center_ras, own.center_ras)
        length, longest = float(np.linalg.norm(shift)), most * sphere.diameter_mm / 2
        shift = shift * min(1.0, longest / length) if length > 0 else shift
        matrix = self.frame.ijk_to_ras.copy()
        matrix[:3, 3] = scale * (matrix[:3, 3] - own.center_ras) + own.center_ras + shift
        matrix[:3, :3] *= scale
        return replace(self, frame=PatchFrame(self.frame.shape, matrix), scale=self.scale * scale)

    def at(self, points_ras: np.ndarray) -> np.ndarray:
        """Distances (L, N) in mm at points (N, 3) in RAS mm; beyond the cells, the way to them is added."""
        from scipy import ndimage

        positions = kji_from_ras(self.frame.ijk_to_ras, points_ras)
        inside = np.clip(positions, 0, np.array(self.frame.shape) - 1)
        beyond_mm = np.linalg.norm((positions - inside) * self.frame.spacing_mm, axis=1)
        levels = [ndimage.map_coordinates(level, inside.T, order=1) for level in self.level_mm]
        return self.scale * np.stack(levels) + beyond_mm

    def mask_on(self, volume: Grid, allowed: np.ndarray, diameter_mm: float) -> np.ndarray:
        """The lesion (L, D, H, W) bool on a volume's grid, in `allowed` (D, H, W) bool only; the union is one piece
        and never empty where `allowed` is not.

        Thin tips fall between coarse voxels: where the lesion would end up narrower than `diameter_mm`, the voxels
        that its surface grazes count too.
        """
        kji = np.argwhere(allowed)
        points = ras_from_kji(volume.ijk_to_ras, kji)
        levels = self.at(points)
        level_mm = levels.min(axis=0)
        level_mm -= max(0.0, level_mm.min())  # the deepest voxel always
        voxel_mm = abs(np.linalg.det(volume.ijk_to_ras[:3, :3])) ** (1 / 3)
        low = kji.min(axis=0)
        here = tuple((kji - low).T)
        for grazed_mm in voxel_mm * np.array([0, 0.125, 0.25, 0.375, 0.5]):
            box = np.zeros(kji.max(axis=0) - low + 1, dtype=bool)
            box[tuple(index[level_mm <= grazed_mm] for index in here)] = True
            inside = largest_pieces(box)[here]
            if 2 * minimum_enclosing_sphere(points[inside])[1] + voxel_mm >= SIZE_REACHED * diameter_mm:
                break
        mask = np.zeros((len(levels), *volume.shape), dtype=bool)
        mask[(levels.argmin(axis=0)[inside], *kji[inside].T)] = True
        return mask


def largest_pieces(mask: np.ndarray, count: int = 1, neighbours: np.ndarray = NEIGHBOURS) -> np.ndarray:
    """The `count` largest pieces of a bool array, the first of equals; neighbours over faces, edges and corners."""
    from scipy import ndimage

    parts, found = ndimage.label(mask, structure=neighbours)
    if found <= count:
        return mask
    sizes = np.bincount(parts.ravel())[1:]
    return np.isin(parts, 1 + np.argsort(-sizes, kind="stable")[:count])


def smooth_distance(inside: np.ndarray, cells: float = SMOOTHING_CELLS) -> np.ndarray:
    """Cells to the surface of a bool array, negative inside, smoothed."""
    from scipy import ndimage

    if not inside.any():
        return np.full(inside.shape, float(max(inside.shape)))
    distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance -= np.sign(distance) / 2
    smooth = ndimage.gaussian_filter(distance, cells, mode="nearest")
    return smooth if (smooth < 0).any() else distance  # what is a cell thin would be smoothed away


def surface_points(level: np.ndarray) -> np.ndarray:
    """Indices (N, 3) of where the surface crosses the lines between neighbouring cells, as in marching cubes."""
    points = []
    for axis in range(3):
        here, there = (np.take(level, np.arange(level.shape[axis] - 1) + step, axis) for step in (0, 1))
        crossed = (here < 0) != (there < 0)
        found = np.argwhere(crossed).astype(np.float64)
        found[:, axis] += here[crossed] / (here[crossed] - there[crossed])
        points.append(found)
    return np.concatenate(points)


def _cells_around(occupancy: np.ndarray, frame: PatchFrame) -> PatchFrame:
    """Cubic cells along the patient's axes over the lesion with a margin."""
    kji = np.argwhere((occupancy > 0.5).any(axis=0))
    steps = np.abs(frame.ijk_to_ras[:3, :3]).sum(axis=1)[::-1] / 2  # half a voxel along S, A, R
    points = ras_from_kji(frame.ijk_to_ras, kji)[:, ::-1]
    low, high = points.min(axis=0) - steps, points.max(axis=0) + steps
    cell = float((high - low).max()) / CELLS
    count = np.ceil((high - low) / cell).astype(int) + 2 * MARGIN
    start = (low + high) / 2 - (count - 1) / 2 * cell
    matrix = np.zeros((4, 4))
    matrix[[0, 1, 2], [0, 1, 2]] = cell
    matrix[:3, 3], matrix[3, 3] = start[::-1], 1
    return PatchFrame(tuple(count), matrix)


def _largest_values(values: np.ndarray, count: int) -> np.ndarray:
    """Which are the `count` largest, of those above 0: beyond the patch there is nothing to fill a rim with."""
    count = min(max(count, 0), values.size)
    if count == 0:
        return np.zeros(values.shape, dtype=bool)
    return (values > 0) & (values >= np.partition(values.ravel(), values.size - count)[values.size - count])
