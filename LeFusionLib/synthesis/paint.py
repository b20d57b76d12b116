"""The way back: made tissue into the volume's own grid and type, inside the mask only."""

import numpy as np

from ..geometry import PatchFrame
from ..intensity import IntensityWindow
from ..lesion_mask import LesionMask
from ..volume import Volume

FEATHER_MM = 0.1  # how far inside its rim the lesion is blended into the tissue that was there


def paint_back(
    painted: np.ndarray,
    volume: Volume,
    lesion: LesionMask,
    frame: PatchFrame,
    made: np.ndarray,
    window: IntensityWindow,
) -> None:
    """Write the made patch (L, d, h, w), values in [-1, 1], into `painted` (D, H, W), at the lesion's voxels only.

    Each class is taken from its own channel. Towards the rim the new tissue is blended with the volume's; values are
    rounded to, and kept within, the volume's own type.
    """
    weight = rim_weight(lesion)
    of_voxel = lesion.array[(slice(None), *lesion.kji.T)]
    for channel, mine in zip(made, of_voxel, strict=True):
        kji = lesion.kji[mine]
        if not len(kji):
            continue
        tissue = window.restore(frame.values_at(channel, volume, kji))
        where = tuple(kji.T)
        before = volume.array[where].astype(np.float64)
        painted[where] = as_dtype(before + weight[mine] * (tissue - before), volume.array.dtype)


def rim_weight(lesion: LesionMask, feather_mm: float = FEATHER_MM) -> np.ndarray:
    """(N,) in (0, 1] for `lesion.kji`: how much of each voxel is new; below 1 only in the outermost layer or two."""
    from scipy.ndimage import distance_transform_edt

    box = tuple(slice(max(axis.start - 1, 0), axis.stop + 1) for axis in lesion.bounding_box())
    # A border of background also where the lesion touches the volume's edge would blend it with nothing: none is added.
    inside = lesion.union[box]
    if inside.all():
        return np.ones(len(lesion.kji))
    distance_mm = distance_transform_edt(inside, sampling=lesion.spacing_mm)
    at = tuple((lesion.kji - [axis.start for axis in box]).T)
    return np.clip(distance_mm[at] / (min(lesion.spacing_mm) + feather_mm), 0, 1)


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Rounded and limited to what an integer type can hold; floating types as they are."""
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
