"""What a lesion's shape measures: size, surface, roundness, elongation, and dents."""

from dataclasses import astuple, dataclass

import numpy as np
from scipy import ndimage

from ..errors import LeFusionError
from ..lesion_mask import LesionMask

FINER = 2  # subvoxels along an axis, so that the surface of a lesion two voxels wide is one
SMOOTHING_VOXELS = 0.7  # sigma; rounds off the voxels' stair-steps: a ball gets 99 % sphericity instead of 66 %
CONCAVITY_DEPTH_VOXELS = 0.5  # of a voxel's centre below the convex hull: the dent is a voxel deep, as the grid is fine
CONCAVITY_SHARE = 0.01  # of the lesion's volume
NUDGE_VOXELS = 1e-3  # gives a lesion one voxel thin a convex hull with a volume


@dataclass(frozen=True)
class ShapeFeatures:
    """One lesion's shape in numbers. All are the same for a shape that is flipped or whose axes are swapped.

    `volume_mm3`: voxels times the volume of one.
    `diameter_mm`: of the smallest enclosing sphere, as `LesionMask.diameter_mm`.
    `fill`: share of that sphere's volume, 1 for a ball.
    `surface_mm2`: area of the smoothed surface (`smooth_field`).
    `sphericity`: surface of the ball of equal volume over the surface, 1 for a ball; both of the smoothed surface.
    `surface_to_volume`: in 1/mm, both of the smoothed surface; 6 / diameter for a ball.
    `elongation`, `flatness`: root of the second and of the third largest second moment over the largest, as pyradiomics
    defines them; 1 for a ball. A voxel counts as a box, not as a point, so that a lesion one voxel thin has both.
    `solidity`: share of the convex hull's voxels that belong to the lesion, 1 for a convex one.
    `concavities`: number of distinct dents (`count_concavities`).
    """

    volume_mm3: float
    diameter_mm: float
    fill: float
    surface_mm2: float
    sphericity: float
    surface_to_volume: float
    elongation: float
    flatness: float
    solidity: float
    concavities: int

    def __post_init__(self) -> None:
        wrong = [name for name, value in zip(FEATURES, astuple(self), strict=True) if not np.isfinite(value)]
        if wrong:
            raise LeFusionError(f"The shape has no finite {', '.join(wrong)}. Measure one whole lesion at a time.")


FEATURES = tuple(ShapeFeatures.__dataclass_fields__)


def shape_features(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> ShapeFeatures:
    """Measure one lesion, `mask` (D, H, W) bool with at least one voxel, `spacing_mm` along (D, H, W)."""
    lesion = lesion_of(mask, spacing_mm)
    solid = lesion.union[lesion.bounding_box()]
    volume_mm3, diameter_mm = lesion.volume_mm3(), lesion.diameter_mm()
    surface_mm2, inside_mm3 = _surface(solid, spacing_mm)
    places = np.argwhere(solid) * np.array(spacing_mm)
    voxel_moment = np.diag(np.square(spacing_mm) / 12)
    least, middle, most = np.linalg.eigvalsh(np.cov(places.T, bias=True) + voxel_moment)
    hull, depth = _hull_depth(solid)
    return ShapeFeatures(
        volume_mm3=volume_mm3,
        diameter_mm=diameter_mm,
        fill=float(volume_mm3 / (np.pi / 6 * diameter_mm**3)),
        surface_mm2=surface_mm2,
        sphericity=float(np.pi ** (1 / 3) * (6 * inside_mm3) ** (2 / 3) / surface_mm2),
        surface_to_volume=surface_mm2 / inside_mm3,
        elongation=float(np.sqrt(middle / most)),
        flatness=float(np.sqrt(least / most)),
        solidity=float(np.count_nonzero(solid) / np.count_nonzero(hull)),
        concavities=_count_dents(solid, depth),
    )


def lesion_of(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> LesionMask:
    """A mask (D, H, W) as a lesion on a grid of this spacing along (D, H, W), somewhere in the world."""
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if np.ndim(mask) != 3 or spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise LeFusionError(
            "A shape needs a mask (D, H, W) and three spacings (D, H, W) above 0 mm; "
            f"got a mask of {np.shape(mask)} and {spacing_mm!r}."
        )
    return LesionMask(mask, np.diag([*spacing[::-1], 1.0]))


def smooth_field(solid: np.ndarray, smoothing_voxels: float = SMOOTHING_VOXELS) -> tuple[np.ndarray, float]:
    """A smooth field on subvoxels, (FINER (D + 8), ...) float32, four voxels wider on each side, and the level of
    the lesion's surface in it.

    The level is not one half but that at which as many subvoxels are inside as belong to the lesion: smoothing alone
    would eat a quarter of a lesion three voxels wide, and all of a smaller one.
    """
    fine = np.kron(np.pad(solid, 4), np.ones((FINER,) * 3)).astype(np.float32)
    field = ndimage.gaussian_filter(fine, smoothing_voxels * FINER)
    inside = int(np.count_nonzero(fine))
    outermost = np.partition(field, [-inside - 1, -inside], axis=None)[[-inside - 1, -inside]]
    return field, float(outermost.mean())


def count_concavities(mask: np.ndarray) -> int:
    """Number of distinct dents of a lesion (D, H, W) bool.

    A dent is a set of voxels that touch over faces, belong to the convex hull of the lesion's voxel centres but not to
    the lesion, and lie at least CONCAVITY_DEPTH_VOXELS below the hull's surface; it counts if they make up
    CONCAVITY_SHARE of the lesion's volume. So two dents that only a shallow layer joins are two, a waist all round is
    one, and a convex body has none at any resolution: its voxels are all there are in the hull of their centres.
    """
    solid = mask[lesion_of(mask, (1, 1, 1)).bounding_box()]
    return _count_dents(solid, _hull_depth(solid)[1])


def _count_dents(solid: np.ndarray, depth: np.ndarray) -> int:
    regions, count = ndimage.label(~solid & (depth >= CONCAVITY_DEPTH_VOXELS))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    return int((sizes >= CONCAVITY_SHARE * np.count_nonzero(solid)).sum())


def _hull_depth(solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which voxels lie in the convex hull of the lesion's voxel centres, and how deep (in voxels), both (D, H, W)."""
    from scipy.spatial import ConvexHull

    # The ends of each row of voxels have the same hull as all voxels, and are far fewer.
    row = solid.any(axis=2)
    first, last = solid.argmax(axis=2)[row], solid.shape[2] - 1 - solid[:, :, ::-1].argmax(axis=2)[row]
    kj = np.argwhere(row)
    ends = np.vstack([np.column_stack([kj, first]), np.column_stack([kj, last])]).astype(np.float64)
    steps = NUDGE_VOXELS * np.vstack([np.eye(3), -np.eye(3)])
    planes = ConvexHull((ends[:, None] + steps).reshape(-1, 3)).equations
    depth = np.full(solid.shape, np.inf)
    k, j, i = np.ogrid[tuple(slice(n) for n in solid.shape)]
    for a, b, c, offset in np.unique(planes.round(9), axis=0):
        np.minimum(depth, -(a * k + b * j + c * i + offset), out=depth)
    return (depth >= 0) | solid, depth


def _surface(solid: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Area in mm2 of the smoothed surface, and the volume in mm3 inside it."""
    from skimage.measure import marching_cubes, mesh_surface_area

    field, level = smooth_field(solid)
    points, faces, _, _ = marching_cubes(field, level, spacing=tuple(mm / FINER for mm in spacing_mm))
    a, b, c = (points[faces[:, corner]].astype(np.float64) for corner in range(3))
    volume_mm3 = abs(np.einsum("ni,ni->", a, np.cross(b, c))) / 6  # of the tetrahedra to the origin
    return float(mesh_surface_area(points, faces)), float(volume_mm3)
