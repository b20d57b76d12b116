"""What the published DiffMask does around its network: the control sphere it is shown, the clean-up of what it made.

The idea is the paper's (Sec. 3.3: the bounding sphere of a real mask as condition, a smoothing kernel at the end); the
numbers are the published reference implementation's, quirks included, since its weights were trained with them. Spheres
are in voxels here, of the patch of 1 mm. Our own sphere is `ControlSphere`, in the world.
"""

import math

import numpy as np
from scipy import ndimage

from ..errors import LeFusionError
from ..geometry import PatchFrame
from ..level_set import largest_pieces

SMOOTHING = (
    # fewer voxels than, sigma in voxels, what counts as inside after the filter
    (20, 0.5, 0.01),
    (50, 0.5, 0.1),
    (100, 0.5, 0.2),
    (1_000, 1.0, 0.3),
    (10_000, 1.5, 0.5),
    (math.inf, 2.0, 0.5),
)
ZOOM = 1.5  # voxels of the cleaned mask per voxel of the patch, along each axis
FACES = ndimage.generate_binary_structure(3, 1)  # the neighbours of a voxel, without edges and corners


def published_sphere(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The "bounding sphere" of a mask (D, H, W): centre (3,) int, voxel (k, j, i), and radius in voxels.

    The radius is the largest distance from the voxels' mean; both are cut to whole numbers, so a rim may stick out. An
    empty mask has centre (0, 0, 0) and radius 0. The smallest sphere is `geometry.minimum_enclosing_sphere`.
    """
    kji = np.argwhere(mask)
    if len(kji) == 0:
        return np.zeros(3, dtype=int), 0
    center = kji.mean(axis=0)
    return center.astype(int), int(np.linalg.norm(kji - center, axis=1).max())


def published_ball(shape: tuple[int, int, int], center_kji: np.ndarray, radius: int) -> np.ndarray:
    """The sphere on the patch, (D, H, W) uint8: 1 where a voxel is no farther than `radius` voxels from the centre."""
    k, j, i = np.ogrid[tuple(slice(n) for n in shape)]
    squared = (k - center_kji[0]) ** 2 + (j - center_kji[1]) ** 2 + (i - center_kji[2]) ** 2
    return (squared <= radius**2).astype(np.uint8)


def published_sphere_channel(ball: np.ndarray) -> np.ndarray:
    """What the published weights are shown of a ball of 0 and 1, uint8: 1 inside and 255 outside.

    2 s - 1 was meant to give -1 outside, in a type that has no -1.
    """
    return np.where(ball, 1, 255).astype(np.uint8)


def clean_up(mask: np.ndarray) -> np.ndarray:
    """A generated mask smoothed, in one piece and zoomed: (D, H, W) bool to (round(1.5 D), ...) bool.

    Where nothing survives the result is empty: make another one. `zoomed_frame` says where its voxels lie.
    """
    return _zoomed(_smoothed(mask))


def published_clean_up(mask: np.ndarray) -> np.ndarray:
    """As `clean_up`, bit for bit the published one: where the filter leaves nothing, all voxels are set.

    There the largest piece of nothing is the background.
    """
    smoothed = _smoothed(mask)
    return _zoomed(smoothed if smoothed.any() else np.ones_like(smoothed))


def zoomed_frame(frame: PatchFrame) -> PatchFrame:
    """Where the voxels of a cleaned mask lie, of the frame of the patch it was made in (two voxels or more per axis).

    First and last voxel centres stay where they were, so n voxels of spacing s become m = round(1.5 n) of spacing
    s (n - 1) / (m - 1). The published files keep the patch's matrix, and their lesions are 1.5 times too large.
    """
    if min(frame.shape) < 2:
        raise LeFusionError(
            f"A patch of {frame.shape} voxels (D, H, W) cannot be zoomed between its first and last voxel. "
            "Take one of at least two voxels along each axis."
        )
    d, h, w = (round(ZOOM * n) for n in frame.shape)  # a half to the even number, as the zoom does
    finer = np.subtract(frame.shape, 1) / np.subtract((d, h, w), 1)
    ijk_to_ras = frame.ijk_to_ras.copy()
    ijk_to_ras[:3, :3] *= finer[::-1]
    return PatchFrame((d, h, w), ijk_to_ras)


def _smoothed(mask: np.ndarray) -> np.ndarray:
    """Filled, filtered by the step that fits its size, and of that the largest piece: bool, on the patch's voxels."""
    voxels = np.count_nonzero(mask)
    sigma, threshold = next((sigma, threshold) for below, sigma, threshold in SMOOTHING if voxels < below)
    filled = ndimage.binary_fill_holes(mask).astype(np.float64)
    return largest_pieces(ndimage.gaussian_filter(filled, sigma) > threshold, neighbours=FACES)


def _zoomed(mask: np.ndarray) -> np.ndarray:
    """Linear between voxel centres, first on first and last on last.

    By rounding, SciPy leaves the last plane of 29, 101 or 113 voxels empty; so does the published clean-up.
    """
    return ndimage.zoom(mask.astype(np.float64), ZOOM, order=1) > 0.5
