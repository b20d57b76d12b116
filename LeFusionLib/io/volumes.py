"""Read and write one volume; the format follows from the name."""

import os
from pathlib import Path

import numpy as np

from ..errors import LeFusionError
from ..volume import Volume
from . import dicom, metaimage, nifti, nrrd
from .files import WRITABLE, atomic_write, one_line, reading, split_name

FORMATS = {
    ".nii.gz": nifti,
    ".nii": nifti,
    ".nrrd": nrrd,
    ".nhdr": nrrd,
    ".mha": metaimage,
    ".mhd": metaimage,
}


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """The volume in a NIfTI, NRRD or MetaImage file, or in a folder with exactly one DICOM series.

    The array has the file's own type, or float64 where the file scales its numbers (NIfTI slope and intercept);
    DICOM gives whole HU as int16 or int32. `name` is the file's name without extension, or the folder's.
    Raises `LeFusionError` for anything that is not one 3D scalar image with its place in the world.
    """
    path = Path(path)
    array, ijk_to_ras, storage, name = read_arrays(path)
    with reading(path, "a volume"):
        return Volume(array, ijk_to_ras, name, storage, Path(path), getattr(storage, "modality", None))


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, object, str]:
    """(D, H, W) array of any number type, ijk_to_ras, storage and name: what `read_volume` and `read_labels` share."""
    if path.is_dir():
        with reading(path, "DICOM"):
            return *dicom.read(path), path.resolve().name
    name, suffix = split_name(path)
    if not path.exists():
        raise LeFusionError(f"There is no file or folder {path}. Check the spelling.")
    with reading(path, FORMATS[suffix].KIND):
        return *FORMATS[suffix].read(path), name


def write_volume(volume: Volume, path: str | os.PathLike[str], synthetic: dict[str, str] | None = None) -> None:
    """Write the volume; `path` must end in .nii.gz, .nii, .nrrd or .mha. The file appears whole or not at all.

    A volume read from the same format keeps its header (codes, units, scaling, harmless keys); patient data is left
    out. `synthetic` are short texts for the header, such as {"synthetic": "true", "software": "LeFusion 0.1"}.
    Whether `path` may be written at all is for `check_output` to say.
    """
    _, suffix = split_name(path, WRITABLE)
    with atomic_write(path, needed_bytes=volume.array.nbytes + 4096) as temporary:
        FORMATS[suffix].write(volume, temporary, one_line(synthetic or {}))
