"""A grey-value volume with its place in the world."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import LeFusionError

SUPPORTED_DTYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Volume:
    """Grey values (D, H, W) = (k, j, i) and the matrix that puts voxel (i, j, k) at a point in RAS millimetres.

    `array` may have any dtype of `SUPPORTED_DTYPES`; it is kept as it is. `ijk_to_ras` is (4, 4) and may be oblique,
    anisotropic, flipped, left-handed or sheared, but not singular. `name` is a label without a path.
    `storage` is what `io` needs to write the file again as it was (format, header, scaling); no other code reads it.
    `modality` is what the file's header calls it ("CT", "MR"); None where it does not say.
    `source` is the file or folder it was read from, which no output may replace.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = "volume"
    storage: Any = None
    source: Path | None = None
    modality: str | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3 or 0 in array.shape:
            raise LeFusionError(
                f"A volume needs three axes (D, H, W) with voxels in them; got shape {array.shape}. "
                "Choose one 3D image (no RGB, no time series, no single slice)."
            )
        if array.dtype.name not in SUPPORTED_DTYPES:
            raise LeFusionError(
                f"Voxels of type {array.dtype} are not supported; possible: {', '.join(SUPPORTED_DTYPES)}."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise LeFusionError(
                f"The volume has {bad} voxels that are NaN or infinite. Replace them (for CT with -1024) and try again."
            )
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "ijk_to_ras", checked_matrix(self.ijk_to_ras))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return self.array.shape  # type: ignore[return-value]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along (D, H, W), in mm."""
        return spacing_of(self.ijk_to_ras)

    def with_array(self, array: np.ndarray, name: str | None = None) -> "Volume":
        """The same grid with other voxels (D, H, W), of any supported dtype."""
        if np.shape(array) != self.shape:
            raise LeFusionError(f"The volume's grid is {self.shape}, the new voxels are {np.shape(array)} (D, H, W).")
        return replace(self, array=array, name=self.name if name is None else name)

    def sha256(self) -> str:
        """Hash of type, shape, voxels and geometry: the same for the same image, whatever file or node held it."""
        digest = hashlib.sha256(f"{self.array.dtype.name}{self.shape}".encode())
        # A file may be big-endian, and a rounded matrix may hold -0.0: neither makes another image.
        voxels = np.ascontiguousarray(self.array, dtype=self.array.dtype.newbyteorder("<"))
        digest.update(voxels.reshape(-1).view(np.uint8).data)
        digest.update((np.round(self.ijk_to_ras, 4) + 0.0).astype("<f8").tobytes())
        return digest.hexdigest()


def spacing_of(ijk_to_ras: np.ndarray) -> tuple[float, float, float]:
    """Distance in mm between neighbouring voxels along (D, H, W) of a grid with this (4, 4) matrix."""
    i, j, k = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    return float(k), float(j), float(i)


def checked_matrix(ijk_to_ras: np.ndarray) -> np.ndarray:
    """A read-only (4, 4) float64 copy of the matrix, or an error that says what is wrong with the geometry."""
    try:
        matrix = np.array(ijk_to_ras, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4):
        raise LeFusionError(f"The geometry needs a 4x4 matrix from voxel (i, j, k) to RAS mm; got {ijk_to_ras!r}.")
    # Flat: the axes span (almost) no space, judged relative to their lengths, so that tiny voxels are fine.
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) <= 1e-6 * lengths.prod():
        raise LeFusionError(
            "The volume's geometry is missing, not finite or flat (spacing or directions are NaN or zero). "
            "Save it again from 3D Slicer with its correct spacing and origin."
        )
    if not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise LeFusionError(
            f"The last row of the geometry's 4x4 matrix must be 0 0 0 1; got {matrix[3].tolist()}. "
            "Give the matrix from voxel (i, j, k) to RAS mm, not its transpose."
        )
    matrix.flags.writeable = False
    return matrix
