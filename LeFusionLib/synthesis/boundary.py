"""Where a lesion may grow: an organ, as a mask of the user's or found by the library."""

from typing import TYPE_CHECKING

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..geometry import TIE_VOXELS, PatchFrame
from ..lesion_mask import LesionMask
from ..volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

Boundary = LesionMask | np.ndarray | str | None

SCANS_KEPT = 4  # whose organs are remembered, a bit per voxel


def boundary_mask(boundary: Boundary, volume: Volume) -> np.ndarray | None:
    """(D, H, W) bool on the volume's grid, or None for no boundary.

    boundary: a mask on that grid, an array of its shape, or a name of `BUILT_IN`. Raises `LeFusionError` for another
    grid, an empty boundary, and names that are not known.
    """
    if boundary is None:
        return None
    if isinstance(boundary, str):
        if boundary not in BUILT_IN:
            raise unknown_name("built-in boundary", boundary, BUILT_IN)
        return BUILT_IN[boundary](volume)
    if isinstance(boundary, LesionMask):
        boundary.check_on_grid_of(volume)
        return boundary.union
    array = np.asarray(boundary) > 0
    if array.shape != volume.shape:
        raise LeFusionError(
            f"The boundary is {array.shape} voxels, the volume {volume.shape}. Give a boundary on the volume's grid."
        )
    if not array.any():
        raise LeFusionError("The boundary is empty. Give a segmentation with voxels in it.")
    return array


def boundary_in(frame: PatchFrame, boundary: np.ndarray, volume: Volume) -> np.ndarray:
    """(d, h, w) bool: which voxels of a patch lie inside the boundary; none beyond the volume, whose few slices a patch
    often outreaches."""
    inside = frame.extract(Volume(boundary.astype(np.uint8), volume.ijk_to_ras)) > 0.5
    positions = frame.positions_on(volume)
    met = ((positions >= -0.5 - TIE_VOXELS) & (positions <= np.array(volume.shape) - 0.5 + TIE_VOXELS)).all(axis=1)
    return inside & met.reshape(frame.shape)


def _everything(volume: Volume) -> np.ndarray:
    """For a model that draws inside an organ, where no organ is known: anywhere in the sphere, without anatomy."""
    return np.ones(volume.shape, dtype=bool)


def _lungs(volume: Volume) -> np.ndarray:
    """Remembered, since a scan is met again: by the next sketch, by the next case of a batch."""
    from ..lungs import segment_lungs

    scan = volume.sha256()
    if scan not in _lungs_found:
        mask = segment_lungs(volume)
        while len(_lungs_found) >= SCANS_KEPT:
            del _lungs_found[next(iter(_lungs_found))]
        _lungs_found[scan] = np.packbits(mask)
    return np.unpackbits(_lungs_found[scan], count=volume.array.size).reshape(volume.shape).astype(bool)


_lungs_found: dict[str, np.ndarray] = {}  # {the scan's hash: bits of the mask}, the oldest first


NO_ORGAN = "none"
BUILT_IN: "dict[str, Callable[[Volume], np.ndarray]]" = {"lung": _lungs, NO_ORGAN: _everything}
FOUND = {"lung": ("the lungs", "CT")}  # what the library finds itself, in words, and in which kind of scan
