"""Points, spheres and the patch: where things are in the world, for any grid of voxels.

Points are RAS millimetres; voxel indices are in array order (k, j, i). A grid is anything with a `shape` (D, H, W) and
an `ijk_to_ras` (4, 4): a volume, a lesion mask, a patch. It may be oblique, anisotropic, flipped or sheared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .errors import LeFusionError
from .volume import Volume, checked_matrix, spacing_of

if TYPE_CHECKING:
    from .lesion_mask import LesionMask

COINCIDE_VOXELS = 1e-3  # two voxel centres closer than this (in voxels) are the same place: headers hold float32
TIE_MM = 1e-6  # a voxel centre on a sphere's surface is inside on every grid, in spite of rounding
TIE_VOXELS = 1e-6  # half way between two voxels goes to the higher index on every grid


class Grid(Protocol):
    """A box of voxels with its place in the world."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """(4, 4), from voxel (i, j, k) to RAS mm."""


def ras_from_kji(ijk_to_ras: np.ndarray, kji: np.ndarray) -> np.ndarray:
    """Points (N, 3) in RAS mm of the continuous voxel indices (N, 3) in the order (k, j, i)."""
    kji = np.asarray(kji, dtype=np.float64).reshape(-1, 3)
    return kji[:, ::-1] @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]


def kji_from_ras(ijk_to_ras: np.ndarray, points_ras: np.ndarray) -> np.ndarray:
    """Continuous voxel indices (N, 3) in the order (k, j, i) of the points (N, 3) in RAS mm."""
    points_ras = np.asarray(points_ras, dtype=np.float64).reshape(-1, 3)
    return np.linalg.solve(ijk_to_ras[:3, :3], (points_ras - ijk_to_ras[:3, 3]).T).T[:, ::-1]


def corners_kji(shape: tuple[int, int, int], margin: float = 0.0) -> np.ndarray:
    """Indices (8, 3) of the grid's corner voxels, moved outwards by `margin` voxels (0.5: the voxels' outer edges)."""
    return np.array(list(product(*((-margin, n - 1 + margin) for n in shape))))


def same_grid(first: Grid, second: Grid) -> bool:
    """Same shape, and every corner voxel at the same place to a thousandth of a voxel."""
    if tuple(first.shape) != tuple(second.shape):
        return False
    corners = corners_kji(first.shape)
    there = kji_from_ras(second.ijk_to_ras, ras_from_kji(first.ijk_to_ras, corners))
    return bool(np.abs(there - corners).max() <= COINCIDE_VOXELS)


def nearest_on(mask: np.ndarray, ijk_to_ijk: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(D, H, W) bool of this `shape`: the value of `mask` (d, h, w) bool at the voxel nearest to each voxel of a grid.

    `ijk_to_ijk` (4, 4) leads from that grid's (i, j, k) to those of the mask; beyond the mask there is nothing.
    """
    from scipy.ndimage import affine_transform

    nearest = affine_transform(
        mask.astype(np.uint8),
        ijk_to_ijk[2::-1, 2::-1],
        ijk_to_ijk[2::-1, 3] + TIE_VOXELS,
        output_shape=shape,
        order=0,
        mode="grid-constant",
    )
    return nearest != 0


def describe_grid(grid: Grid) -> str:
    """A grid in words, for error messages."""
    spacing = " x ".join(f"{mm:.4g}" for mm in spacing_of(grid.ijk_to_ras))
    directions = grid.ijk_to_ras[:3, :3] / np.linalg.norm(grid.ijk_to_ras[:3, :3], axis=0)
    axes = ", ".join(f"{axis} ({r:.3g}, {a:.3g}, {s:.3g})" for axis, (r, a, s) in zip("ijk", directions.T, strict=True))
    origin = ", ".join(f"{mm:.2f}" for mm in grid.ijk_to_ras[:3, 3])
    return f"{tuple(grid.shape)} voxels of {spacing} mm (D, H, W), first voxel at RAS ({origin}), axes {axes}"


def minimum_enclosing_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of the smallest sphere that holds all points (N, 3), N >= 1; flat sets are fine.

    The sphere is fixed by at most four of the points. We keep these, add the farthest point outside, and take the
    smallest sphere of the up to five; its radius grows with every round, so the last one is the answer
    (the basis exchange of Gaertner, "Fast and robust smallest enclosing balls", ESA 1999).
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    shift = points.mean(axis=0)
    points = points - shift
    support = points[:1]
    center, radius = support[0], 0.0
    while True:
        distances = np.linalg.norm(points - center, axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] <= radius * (1 + 1e-12):
            break
        new_center, new_radius, new_support = _sphere_of_few(np.vstack([support, points[farthest]]))
        if new_radius <= radius:  # only rounding is left
            break
        center, radius, support = new_center, new_radius, new_support
    return center + shift, float(np.linalg.norm(points - center, axis=1).max())


def _sphere_of_few(points: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Smallest enclosing sphere of up to five points, and those that fix it: the best of all subsets of up to four."""
    best = (points[0], np.inf, points[:1])
    for size in range(1, min(4, len(points)) + 1):
        for chosen in combinations(range(len(points)), size):
            subset = points[list(chosen)]
            edges = subset[1:] - subset[0]
            # The point of the subset's own plane (or line) that is equally far from all of them.
            center = subset[0] + np.linalg.lstsq(2 * edges, (edges**2).sum(axis=1), rcond=1e-12)[0]
            radius = float(np.linalg.norm(points - center, axis=1).max())
            if radius < best[1]:
                best = (center, radius, subset)
    return best


@dataclass(frozen=True)
class ControlSphere:
    """Where a lesion shall grow: a sphere in the world, `center_ras` (R, A, S) and `diameter_mm` in mm."""

    center_ras: tuple[float, float, float]
    diameter_mm: float

    def __post_init__(self) -> None:
        try:
            center = tuple(float(mm) for mm in self.center_ras)
            diameter_mm = float(self.diameter_mm)
        except (TypeError, ValueError):
            center, diameter_mm = (), float("nan")
        if len(center) != 3 or not np.isfinite(center).all() or not np.isfinite(diameter_mm) or diameter_mm <= 0:
            raise LeFusionError(
                "A control sphere needs a centre of three numbers (R, A, S) in mm and a diameter above 0 mm; "
                f"got center_ras={self.center_ras!r}, diameter_mm={self.diameter_mm!r}."
            )
        object.__setattr__(self, "center_ras", center)
        object.__setattr__(self, "diameter_mm", diameter_mm)

    def mask_on(self, volume: Grid) -> np.ndarray:
        """(D, H, W) bool: the voxels whose centre lies within the radius, measured in the world."""
        mask = np.zeros(volume.shape, dtype=bool)
        box, inside = self.mask_in_box(volume)
        mask[box] = inside
        return mask

    def slices_met(self, volume: Grid) -> int:
        """Number of slices along D in which the sphere has a voxel; few slices make a coarse lesion."""
        return int(self.mask_in_box(volume)[1].any(axis=(1, 2)).sum())

    def check_slices(self, volume: Grid) -> None:
        """Refuse a volume with less than half of the slices that the sphere spans: what is drawn would be no lesion."""
        axes = volume.ijk_to_ras[:3, 2::-1]
        reach = self.diameter_mm / 2 * float(np.linalg.norm(np.linalg.inv(axes)[0]))
        center = float(kji_from_ras(volume.ijk_to_ras, np.array(self.center_ras))[0, 0])
        first, last = math.ceil(center - reach), math.floor(center + reach)
        spanned, there = last - first + 1, min(last, volume.shape[0] - 1) - max(first, 0) + 1
        if 2 * there < spanned:
            raise LeFusionError(
                f"The sphere of {self.diameter_mm:g} mm spans {spanned} slices, and the volume has "
                f"{there} of them ({volume.shape[0]} slices, {spacing_of(volume.ijk_to_ras)[0]:g} mm "
                "apart). Take a smaller sphere, or a volume with more slices."
            )

    def check_inside(self, volume: Grid) -> None:
        """Refuse a centre outside the volume, and a sphere narrower than a voxel or between all voxel centres."""
        center = kji_from_ras(volume.ijk_to_ras, np.array(self.center_ras))[0]
        last = np.array(volume.shape) - 1
        if ((center < -0.5) | (center > last + 0.5)).any():
            corners = ras_from_kji(volume.ijk_to_ras, corners_kji(volume.shape, margin=0.5))
            spans = zip("RAS", corners.min(axis=0), corners.max(axis=0), strict=True)
            raise LeFusionError(
                f"The sphere's centre {_mm(self.center_ras)} lies outside the volume, which spans "
                + ", ".join(f"{axis} {low:.1f} to {high:.1f}" for axis, low, high in spans)
                + " mm. Place the centre inside (R, A, S in mm; where a tool shows LPS, R and A have the other sign)."
            )
        around = np.floor(center) + np.array(list(product(range(-1, 3), repeat=3)))
        nearest = ras_from_kji(volume.ijk_to_ras, np.clip(around, 0, last)) - self.center_ras
        distance_mm = float(np.linalg.norm(nearest, axis=1).min())
        smallest_mm = max(min(spacing_of(volume.ijk_to_ras)), 2 * distance_mm)
        if self.diameter_mm + 2 * TIE_MM < smallest_mm:
            voxel = " x ".join(f"{mm:.3g}" for mm in spacing_of(volume.ijk_to_ras))
            raise LeFusionError(
                f"A sphere of {self.diameter_mm:.4g} mm is smaller than a voxel ({voxel} mm, D x H x W). "
                f"The smallest possible diameter there is {math.ceil(smallest_mm * 100) / 100:.2f} mm."
            )

    def mask_in_box(self, volume: Grid) -> tuple[tuple[slice, slice, slice], np.ndarray]:
        """The box of voxels (k, j, i slices) that can be inside the sphere, and which of them are (d, h, w)."""
        axes = volume.ijk_to_ras[:3, 2::-1]  # one voxel step along k, j, i as columns, in mm
        center = kji_from_ras(volume.ijk_to_ras, np.array(self.center_ras))[0]
        radius_mm = self.diameter_mm / 2 + TIE_MM
        reach = radius_mm * np.linalg.norm(np.linalg.inv(axes), axis=1)
        low = np.clip(np.ceil(center - reach), 0, volume.shape).astype(int)
        high = np.clip(np.floor(center + reach) + 1, low, volume.shape).astype(int)
        k, j, i = np.ix_(*(np.arange(a, b) - c for a, b, c in zip(low, high, center, strict=True)))
        # |axes @ (k, j, i)|^2 written out, so that no array larger than the box times one is needed.
        g = axes.T @ axes
        squared_mm = g[0, 0] * k * k + g[1, 1] * j * j + g[2, 2] * i * i
        squared_mm = squared_mm + 2 * g[0, 1] * k * j + 2 * g[0, 2] * k * i + 2 * g[1, 2] * j * i
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return box, squared_mm <= radius_mm**2  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class PatchFrame:
    """The network's box in the world: `shape` (D, H, W) voxels, and its own matrix from (i, j, k) to RAS mm.

    It is the way there (`extract`, `extract_mask`) and the way back (`values_at`).
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise LeFusionError(f"A patch needs three sizes (D, H, W) of at least one voxel; got {self.shape!r}.")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "ijk_to_ras", checked_matrix(self.ijk_to_ras))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring patch voxels along (D, H, W), in mm."""
        return spacing_of(self.ijk_to_ras)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Size of the whole patch along (D, H, W), outer edge to outer edge, in mm."""
        d, h, w = (n * mm for n, mm in zip(self.shape, self.spacing_mm, strict=True))
        return d, h, w

    @classmethod
    def around(
        cls,
        lesion: "LesionMask",
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float] | None,
        axes: str = "kji",
    ) -> "PatchFrame":
        """The patch of `shape` (D, H, W) voxels with the lesion in its middle.

        With `spacing_mm` (D, H, W) the axes are the patient's, in the order in which axial CT is stored: i to the
        patient's left, j to the back, k to the head, whatever the lesion's own grid. With None the patch takes the
        grid of the lesion itself, moved by whole voxels. `axes` says which of these directions the patch's D, H and W
        are: "kji" as they are stored, "kij" with rows and columns of a slice exchanged.
        Voxel `shape // 2` sits on the lesion grid's voxel nearest to the middle of the lesion's bounding box, so that
        an aligned volume of the same spacing needs no interpolation. Where a lesion almost as large as the patch
        would stick out because of this, the patch is centred on the bounding box itself.
        """
        steps = _patch_axes(lesion, spacing_mm, axes)
        frame = cls(shape, _matrix(steps, np.zeros(3)))
        low, high = frame._span(lesion)
        size = np.array(frame.shape)
        step_mm = np.array(frame.spacing_mm)
        if (high - low > size - 1 + COINCIDE_VOXELS).any():
            raise LeFusionError(
                f"The lesion is {_dhw((high - low) * step_mm)} mm (D x H x W, between its outermost voxel centres, "
                f"along the patch's axes); the model's patch is {_dhw(frame.extent_mm)} mm and holds at most "
                f"{_dhw((size - 1) * step_mm)} mm. Make a smaller lesion, or choose a model with a larger patch "
                "(`lefusion models`)."
            )
        # Ties go to the higher index of the patch: an even patch has one voxel more below its centre than above.
        middle_ras = ras_from_kji(frame.ijk_to_ras, (low + high) / 2 + TIE_VOXELS)
        center = ras_from_kji(lesion.ijk_to_ras, np.rint(kji_from_ras(lesion.ijk_to_ras, middle_ras)))
        start = kji_from_ras(frame.ijk_to_ras, center)[0] - size // 2
        if (low < start - COINCIDE_VOXELS).any() or (high > start + size - 1 + COINCIDE_VOXELS).any():
            start = (low + high) / 2 - (size - 1) / 2
        return cls(shape, _matrix(steps, ras_from_kji(frame.ijk_to_ras, start)[0]))

    @classmethod
    def smallest_around(
        cls,
        lesion: "LesionMask",
        shapes: Sequence[tuple[int, int, int]],
        spacing_mm: tuple[float, float, float] | None,
        margin_mm: float,
        axes: str = "kji",
    ) -> "PatchFrame":
        """The patch of the first of `shapes` (smallest first) that holds the lesion with `margin_mm` on every side;
        else the last, which must hold the lesion itself."""
        probe = cls((1, 1, 1), _matrix(_patch_axes(lesion, spacing_mm, axes), np.zeros(3)))
        low, high = probe._span(lesion)
        needed_mm = (high - low) * probe.spacing_mm + 2 * margin_mm
        for shape in shapes:
            if (needed_mm <= (np.array(shape) - 1) * probe.spacing_mm).all():
                return cls.around(lesion, shape, spacing_mm, axes)
        return cls.around(lesion, shapes[-1], spacing_mm, axes)

    @classmethod
    def of_box(cls, grid: Grid, box: tuple[slice, slice, slice]) -> "PatchFrame":
        """The part of a grid within `box` (k, j, i slices), voxel for voxel."""
        start = [axis.start for axis in box]
        matrix = _matrix(grid.ijk_to_ras[:3, :3], ras_from_kji(grid.ijk_to_ras, np.array(start))[0])
        return cls(tuple(axis.stop - axis.start for axis in box), matrix)  # type: ignore[arg-type]

    def extract(self, volume: Volume) -> np.ndarray:
        """Grey values (d, h, w) float32: linear between voxels, the nearest voxel's value beyond the border.

        Where all patch voxels fall on the volume's (to a thousandth of a voxel), its values are taken as they are.
        """
        from scipy.ndimage import map_coordinates

        last = np.array(volume.shape) - 1
        positions = np.clip(self.positions_on(volume), 0, last)
        if _on_voxels(positions):
            values = volume.array[tuple(np.rint(positions).astype(int).T)]
        else:
            low, high = np.floor(positions.min(axis=0)).astype(int), np.ceil(positions.max(axis=0)).astype(int)
            near = volume.array[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))].astype(np.float64)
            values = map_coordinates(near, (positions - low).T, order=1, mode="nearest")
        return values.reshape(self.shape).astype(np.float32)

    def extract_mask(self, lesion: "LesionMask") -> np.ndarray:
        """Each class in the patch, (L, d, h, w) float32 of 0 and 1: the class of the nearest lesion-grid voxel.

        No class may vanish between coarse patch voxels: one that no patch voxel meets gets, for each of its own
        voxels, the nearest patch voxel, and takes it from any other class. Only two classes that are both smaller
        than the same patch voxel cannot be told apart: an error.
        """
        index = _nearest(self.positions_on(lesion))
        inside = ((index >= 0) & (index < lesion.shape)).all(axis=1)
        patch = np.zeros((len(lesion.classes), *self.shape), dtype=bool)
        patch.reshape(len(patch), -1)[:, inside] = lesion.array[(slice(None), *index[inside].T)]

        class_of_voxel = lesion.array[(slice(None), *lesion.kji.T)]
        here = _nearest(kji_from_ras(self.ijk_to_ras, ras_from_kji(lesion.ijk_to_ras, lesion.kji)))
        within = ((here >= 0) & (here < self.shape)).all(axis=1)
        present = (class_of_voxel & within).any(axis=1)
        for thin in np.flatnonzero(present & ~patch.any(axis=(1, 2, 3))):
            where = tuple(here[class_of_voxel[thin] & within].T)
            patch[(slice(None), *where)] = False
            patch[(thin, *where)] = True
        lost = present & ~patch.any(axis=(1, 2, 3))
        if lost.any():
            names = " and ".join(lesion.classes[number] for number in np.flatnonzero(lost))
            raise LeFusionError(
                f"In this lesion, {names} is smaller than a voxel of the patch "
                f"({_dhw(self.spacing_mm)} mm) and shares it with another class. Make the class larger or leave it out."
            )
        return patch.astype(np.float32)

    def values_at(self, patch: np.ndarray, volume_grid: Grid, kji: np.ndarray) -> np.ndarray:
        """The way back: values (N,) float64 of `patch` (d, h, w) at the voxels `kji` (N, 3) of the volume's grid.

        Exact where those voxels fall on the patch's; otherwise a cubic spline, kept within the patch's own range,
        so that no grey value is invented. All voxels must lie in the patch.
        """
        from scipy.ndimage import map_coordinates

        patch = np.asarray(patch, dtype=np.float64)
        if patch.shape != self.shape:
            raise LeFusionError(f"The patch's frame is {self.shape} voxels (D, H, W); got values of {patch.shape}.")
        positions = kji_from_ras(self.ijk_to_ras, ras_from_kji(volume_grid.ijk_to_ras, kji))
        last = np.array(self.shape) - 1
        outside = ((positions < -0.5 - TIE_VOXELS) | (positions > last + 0.5 + TIE_VOXELS)).any(axis=1)
        if outside.any():
            raise LeFusionError(
                f"{int(outside.sum())} of {len(positions)} voxels lie outside the patch. Lay the frame around the "
                "lesion whose voxels are asked for (`PatchFrame.around`)."
            )
        positions = np.clip(positions, 0, last)
        if _on_voxels(positions):
            return patch[tuple(np.rint(positions).astype(int).T)]
        values = map_coordinates(patch, positions.T, order=3, mode="nearest")
        return np.clip(values, patch.min(), patch.max())

    def _span(self, lesion: "LesionMask") -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest continuous index (k, j, i) of the lesion's voxel centres in this frame."""
        wanted = kji_from_ras(self.ijk_to_ras, ras_from_kji(lesion.ijk_to_ras, lesion.kji))
        return wanted.min(axis=0), wanted.max(axis=0)

    def positions_on(self, grid: Grid) -> np.ndarray:
        """Continuous indices (d * h * w, 3) on the other grid of all patch voxels."""
        kji = np.indices(self.shape).reshape(3, -1).T
        return kji_from_ras(grid.ijk_to_ras, ras_from_kji(self.ijk_to_ras, kji))


def _patch_axes(lesion: "LesionMask", spacing_mm: tuple[float, float, float] | None, axes: str) -> np.ndarray:
    """Steps (3, 3) of a patch in RAS mm, for its W, H and D: the lesion grid's own, or the patient's axes as in axial
    CT, in the order of `axes`; spacings are the patch's own (D, H, W)."""
    order = ["ijk".index(axis) for axis in reversed(axes)]
    if spacing_mm is None:
        return lesion.ijk_to_ras[:3, :3][:, order]
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise LeFusionError(f"A patch needs three spacings (D, H, W) above 0 mm; got {spacing_mm!r}.")
    return np.diag([-1.0, -1.0, 1.0])[:, order] * spacing[::-1]


def _matrix(axes: np.ndarray, origin_ras: np.ndarray) -> np.ndarray:
    """(4, 4) from voxel (i, j, k) to RAS mm, of the (3, 3) steps and the first voxel's point."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, origin_ras
    return matrix


def _nearest(positions: np.ndarray) -> np.ndarray:
    """The nearest voxel's indices; half way goes up, in spite of rounding."""
    return np.floor(positions + 0.5 + TIE_VOXELS).astype(int)


def _on_voxels(positions: np.ndarray) -> bool:
    """Do all continuous indices fall on voxel centres?"""
    return bool((np.abs(positions - np.rint(positions)) <= COINCIDE_VOXELS).all())


def _mm(point_ras: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{mm:.1f}" for mm in point_ras) + ")"


def _dhw(lengths_mm: np.ndarray | tuple[float, ...]) -> str:
    return " x ".join(f"{mm:.1f}" for mm in lengths_mm)
