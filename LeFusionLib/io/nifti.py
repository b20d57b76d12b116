"""NIfTI-1 and NIfTI-2 (RAS): geometry from sform or qform, and numbers that a header may scale."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import LeFusionError
from ..volume import Volume, checked_matrix

KIND = "NIfTI"
MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "micron": 1e-3, "meter": 1e3}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class NiftiStorage:
    """The header a volume came with, and the stored numbers (D, H, W) where it scales them by slope and inter."""

    suffix: ClassVar[str] = ".nii.gz"
    header: Any
    ijk_to_ras: np.ndarray
    slope: float = 1.0
    inter: float = 0.0
    raw: np.ndarray | None = None

    def stored_values(self, values: np.ndarray) -> np.ndarray:
        """The numbers to store for physical `values`: the very same ones wherever the value has not changed."""
        if self.raw is None or values.dtype != np.float64 or values.shape != self.raw.shape:
            return values
        stored = np.empty_like(self.raw)
        for plane, raw, new in zip(values, self.raw, stored, strict=True):  # plane by plane, to save memory
            scaled = (plane - self.inter) / self.slope
            if raw.dtype.kind in "iu":
                limits = np.iinfo(raw.dtype)
                scaled = np.rint(scaled).clip(limits.min, limits.max)
            new[...] = np.where(plane == raw * np.float64(self.slope) + self.inter, raw, scaled.astype(raw.dtype))
        return stored


def read(path: Path) -> tuple[np.ndarray, np.ndarray, NiftiStorage]:
    """Array (D, H, W), ijk_to_ras and storage of a single-file NIfTI."""
    import nibabel

    image: Any = nibabel.load(path, mmap=False)
    if not isinstance(image, nibabel.Nifti1Image):
        raise LeFusionError("It is not a NIfTI file, whatever its name says. Give it its own extension.")
    header = image.header
    shape, dtype = image.shape, header.get_data_dtype()
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise LeFusionError(
            f"A volume needs three axes; the file has {len(shape)} {shape}. "
            "Take one image out of the time series or vector, or stack the slices."
        )
    if dtype.kind not in "iuf":
        raise LeFusionError(f"Its voxels are colours or complex numbers ({dtype}). Save one grey value per voxel.")
    if header["qform_code"] == 0 and header["sform_code"] == 0:
        raise LeFusionError(
            "The header does not say where the image lies (qform_code and sform_code are 0). "
            "Export it again from its source, or set the geometry in 3D Slicer and save it."
        )
    ijk_to_ras = _geometry(image)
    stored: Any = image.dataobj
    raw = np.asarray(stored.get_unscaled()).reshape(shape[:3]).T
    raw = np.ascontiguousarray(raw, dtype=dtype.newbyteorder("="))
    slope, inter = float(stored.slope), float(stored.inter)
    if (slope, inter) == (1.0, 0.0):
        return raw, ijk_to_ras, NiftiStorage(header, ijk_to_ras)
    return raw * np.float64(slope) + inter, ijk_to_ras, NiftiStorage(header, ijk_to_ras, slope, inter, raw)


def write(volume: Volume, path: Path, synthetic: dict[str, str]) -> None:
    """Write NIfTI with the header the volume came with, or a new NIfTI-1 one."""
    import nibabel

    source = volume.storage if isinstance(volume.storage, NiftiStorage) else None
    header = source.header.copy() if source else nibabel.Nifti1Header()
    values, slope, inter = volume.array, 1.0, 0.0
    if source:
        values = source.stored_values(volume.array)
        if values is not volume.array:
            slope, inter = source.slope, source.inter
    header.set_data_dtype(values.dtype)
    if source is None or not np.array_equal(volume.ijk_to_ras, source.ijk_to_ras):
        header.set_data_shape(values.shape[::-1])
        _set_geometry(header, volume.ijk_to_ras)
    if "db_name" in header.keys():  # an Analyze left-over (NIfTI-1 only) where some scanners put the patient's name
        header["db_name"] = b""
    _mark(header, synthetic)
    image_class = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    image = image_class(values.T, None, header)
    image.header.set_slope_inter(slope, inter)
    image.to_filename(path)


def _geometry(image: Any) -> np.ndarray:
    """ijk_to_ras by sform, else qform, in mm."""
    ijk_to_ras = np.array(image.affine, dtype=np.float64)
    lengths: np.ndarray = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    pixdim: np.ndarray = np.array(image.header["pixdim"][1:4], dtype=np.float64)
    if (pixdim > 0).all() and (np.abs(lengths - pixdim) > 0.01 * pixdim).any():
        # EMIDEC's files have an sform of bare directions, the voxel size stands in pixdim alone; 3D Slicer reads that.
        bare = bool((np.abs(lengths - 1) < 1e-4).all())
        if bare:
            ijk_to_ras[:3, :3] *= pixdim
        logger.warning(
            "The header gives two voxel sizes, %s mm (sform) and %s mm (pixdim); the %s.",
            lengths.round(3).tolist(),
            pixdim.round(3).tolist(),
            "latter are used, as the former have no scale" if bare else "former are used",
        )
    ijk_to_ras[:3] *= MM_PER_UNIT[image.header.get_xyzt_units()[0]]
    return ijk_to_ras


def _set_geometry(header: Any, ijk_to_ras: np.ndarray) -> None:
    """The sform says it all; the qform is set too where it can say the same (no shear, no rounding of quaternions)."""
    header.set_xyzt_units("mm", "sec")
    header.set_qform(ijk_to_ras, code=1, strip_shears=True)
    header.set_sform(ijk_to_ras, code=1)
    extent = np.array(header.get_data_shape()[:3])
    corners = np.array([[*(corner * extent), 1] for corner in np.ndindex(2, 2, 2)])
    if np.abs(corners @ (header.get_qform() - checked_matrix(ijk_to_ras)).T).max() > 1e-3:
        header["qform_code"] = 0


def _mark(header: Any, synthetic: dict[str, str]) -> None:
    """Say in the header that tissue was made. Foreign extensions go: they may hold the whole DICOM header."""
    import nibabel

    kept = [e for e in header.extensions if e.get_code() == 6 and b'"synthetic"' in _bytes(e.get_content())]
    if synthetic:
        header["descrip"] = f"SYNTHETIC lesion, {synthetic.get('software', 'LeFusion')}".encode("ascii", "replace")[:79]
        kept = [nibabel.nifti1.Nifti1Extension("comment", json.dumps(synthetic).encode())]
    header.extensions = type(header.extensions)(kept)


def _bytes(content: Any) -> bytes:
    return content.encode() if isinstance(content, str) else bytes(content)
