"""A lesion drawn on the volume's own voxels: read as it is, neither smoothed nor scaled."""

from dataclasses import dataclass

import numpy as np

from ..geometry import ControlSphere, Grid, PatchFrame, kji_from_ras, ras_from_kji
from ..lesion_mask import LesionMask
from ..level_set import largest_pieces


def smooth_slices(patch: np.ndarray, voxels: float, inside: np.ndarray | None) -> np.ndarray:
    """`patch` (L, D, H, W) smoothed within its slices by a Gaussian, among the voxels `inside` (D, H, W) bool only;
    what lies outside stays. A wall is no thinner afterwards."""
    from scipy.ndimage import gaussian_filter

    allowed = np.ones(patch.shape[1:], dtype=bool) if inside is None else inside
    sigma = (0.0, voxels, voxels)
    weight = np.maximum(gaussian_filter(allowed.astype(np.float32), sigma), 1e-6)
    smooth = np.stack([gaussian_filter(np.where(allowed, channel, 0), sigma) / weight for channel in patch])
    return np.where(allowed, smooth, patch)


@dataclass(frozen=True, eq=False)
class GridShape:
    """`lesion` on a patch whose voxels are the volume's own. A wall of three voxels between slices 10 mm apart has no
    surface to be fitted with: its size is the one the network drew."""

    lesion: LesionMask

    @classmethod
    def of(cls, patch: np.ndarray, frame: PatchFrame, pieces: int) -> "GridShape | None":
        """Of `patch` (L, D, H, W), above 0 where a voxel is of a class, the class with the highest value where there
        are two; of all classes together the `pieces` largest pieces stay. None where nothing is drawn."""
        drawn = largest_pieces(patch.max(axis=0) > 0, pieces)
        if not drawn.any():
            return None
        own = np.arange(len(patch)).reshape(-1, 1, 1, 1) == patch.argmax(axis=0)
        return cls(LesionMask(own & drawn, frame.ijk_to_ras, tuple(f"class {number}" for number in range(len(patch)))))

    def enclosing_sphere(self) -> ControlSphere:
        """The smallest sphere around it, as lesions are measured."""
        return ControlSphere(self.lesion.center_ras, self.lesion.diameter_mm())

    def volume_mm3(self) -> float:
        """Of all classes together."""
        return self.lesion.volume_mm3()

    def fitted_to(self, sphere: ControlSphere) -> "GridShape":
        """Itself: it cannot be moved by parts of a voxel."""
        return self

    def mask_on(self, volume: Grid, allowed: np.ndarray, diameter_mm: float) -> np.ndarray:
        """(L, D, H, W) bool on the volume's grid, in `allowed` (D, H, W) bool only."""
        kji = np.argwhere(allowed)
        here = np.rint(kji_from_ras(self.lesion.ijk_to_ras, ras_from_kji(volume.ijk_to_ras, kji))).astype(int)
        met = ((here >= 0) & (here < self.lesion.shape)).all(axis=1)
        mask = np.zeros((len(self.lesion.classes), *allowed.shape), dtype=bool)
        mask[(slice(None), *kji[met].T)] = self.lesion.array[(slice(None), *here[met].T)]
        return mask
