"""A folder with one DICOM series (LPS): the headers say where each slice lies, GDCM gives its physical values.

The matrix comes from the first and last ImagePositionPatient (DICOM PS3.3 C.7.6.2), not from slice thickness, so a
tilted gantry becomes the sheared matrix that it is.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import LeFusionError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# All that is read of a header: enough to place the image and to name a series, nothing about the patient.
KEYWORDS = [
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
]
TOLERANCE_MM = 0.1  # positions are often rounded to 0.1 mm; never more than a fifth of the slice distance


@dataclass(frozen=True)
class DicomStorage:
    """We do not write DICOM, and keep nothing of it but its modality ("CT", "MR")."""

    modality: str | None = None
    suffix: ClassVar[str] = ".nii.gz"


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, DicomStorage]:
    """Array (D, H, W), ijk_to_ras and storage of the only series in `folder` (its subfolders are not searched)."""
    slices = _only_series(_headers(folder))
    _check_alike([header for _, header in slices])
    slices, ijk_to_lps = _place(slices)
    return _pixels([file for file, _ in slices]), LPS_TO_RAS @ ijk_to_lps, DicomStorage(slices[0][1].get("Modality"))


def _headers(folder: Path) -> list[tuple[Path, Any]]:
    """The headers of all DICOM images in the folder."""
    import pydicom

    files = sorted(file for file in folder.iterdir() if file.is_file())
    subfolders = sum(entry.is_dir() for entry in folder.iterdir())
    advice = "Give the folder that holds the images of one series" + (
        f" (there are {subfolders} subfolders; they are not searched)." if subfolders else "."
    )
    if not files:
        raise LeFusionError(f"The folder has no files. {advice}")
    headers = []
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=KEYWORDS)
        except pydicom.errors.InvalidDicomError:
            continue  # a note, a preview, a .DS_Store
        if "Rows" in header:  # not a DICOMDIR, structure set or report
            headers.append((file, header))
    if not headers:
        raise LeFusionError(f"None of the {len(files)} files in the folder is a DICOM image. {advice}")
    return headers


def _only_series(headers: list[tuple[Path, Any]]) -> list[tuple[Path, Any]]:
    series = defaultdict(list)
    for file, header in headers:
        series[header.get("SeriesInstanceUID")].append((file, header))
    if len(series) > 1:
        found = [
            f"series {first.get('SeriesNumber', '?')} '{first.get('SeriesDescription', '')}' ({len(slices)} images)"
            for slices in series.values()
            for _, first in slices[:1]
        ]
        raise LeFusionError(
            f"The folder holds {len(series)} DICOM series: {'; '.join(sorted(found))}. "
            "Put the images of one series into a folder of its own, or load it in 3D Slicer and save it as NRRD."
        )
    return next(iter(series.values()))


def _check_alike(headers: list[Any]) -> None:
    """Refuse what does not form one grey-value volume; every header must say where its image lies."""
    if any(int(header.get("NumberOfFrames") or 1) > 1 for header in headers):
        raise LeFusionError("Multi-frame DICOM is not supported. Load it in 3D Slicer and save it as NRRD.")
    if any(int(header.get("SamplesPerPixel") or 1) > 1 for header in headers):
        raise LeFusionError("The series holds colour images; a volume has one grey value per voxel. Choose another.")
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        lacking = sum(not header.get(keyword) for header in headers)
        if lacking:
            raise LeFusionError(
                f"{lacking} of {len(headers)} images do not say where they lie (no {keyword}). "
                "Scanned pictures and plain X-rays cannot be used; export the series again from its source."
            )
    if len(headers) < 2:
        raise LeFusionError("The series has one image only; a volume needs at least two slices.")
    sizes = sorted({(int(header.Columns), int(header.Rows)) for header in headers})
    if len(sizes) > 1:
        raise LeFusionError(
            f"The images have different sizes: {', '.join(f'{w} x {h}' for w, h in sizes)}. "
            "Take the odd ones (often a scout view) out of the folder."
        )
    for keyword, what in (("ImageOrientationPatient", "directions"), ("PixelSpacing", "pixel sizes")):
        values = np.array([header[keyword].value for header in headers], dtype=np.float64)
        if not np.abs(values - values[0]).max() <= 1e-4:
            raise LeFusionError(
                f"The images have different {what}, so they are not one volume. Keep the images of one stack only."
            )


def _place(slices: list[tuple[Path, Any]]) -> tuple[list[tuple[Path, Any]], np.ndarray]:
    """The slices in order along their normal, and ijk_to_lps; a gap or a doubled slice is an error."""
    header = slices[0][1]
    along_i, along_j = np.array(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    spacing_j, spacing_i = (float(x) for x in header.PixelSpacing)
    positions = np.array([h.ImagePositionPatient for _, h in slices], dtype=np.float64)
    heights = positions @ np.cross(along_i, along_j)
    order = np.argsort(heights, kind="stable")
    slices, positions, heights = [slices[n] for n in order], positions[order], heights[order]
    if np.isfinite(positions).all():
        _check_even(slices, positions, heights)
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, 0] = along_i * spacing_i
    ijk_to_lps[:3, 1] = along_j * spacing_j
    ijk_to_lps[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    ijk_to_lps[:3, 3] = positions[0]
    return slices, ijk_to_lps


def _check_even(slices: list[tuple[Path, Any]], positions: np.ndarray, heights: np.ndarray) -> None:
    """`positions` (N, 3) in mm and `heights` (N,) along the normal, both sorted, must be evenly spaced on a line."""

    def pair(n: int) -> str:
        numbers = " and ".join(str(header.get("InstanceNumber", "?")) for _, header in slices[n : n + 2])
        return f"images {numbers}, at {heights[n]:.2f} and {heights[n + 1]:.2f} mm along the slice axis"

    gaps = np.diff(heights)
    doubled = np.flatnonzero(gaps < 0.01)
    if len(doubled):
        raise LeFusionError(
            f"{len(doubled)} slice positions occur more than once (first {pair(doubled[0])}). "
            "The folder holds copies, or several time points or echoes: keep one image per position."
        )
    typical = float(np.median(gaps))
    widest = int(np.argmax(gaps))
    if gaps[widest] > 1.5 * typical:
        raise LeFusionError(
            f"Slices are missing or unevenly spaced: the distance is {gaps[widest]:.2f} mm between {pair(widest)}, "
            f"elsewhere {typical:.2f} mm. Export the whole series again, "
            "or load it in 3D Slicer (which corrects uneven spacing), harden the transform and save it as NRRD."
        )
    line = positions[0] + np.linspace(0, 1, len(positions))[:, None] * (positions[-1] - positions[0])
    off = np.linalg.norm(positions - line, axis=1)
    worst = int(np.argmax(off))
    if off[worst] > min(TOLERANCE_MM, 0.2 * typical) + 1e-6:
        raise LeFusionError(
            f"The slices are not evenly spaced along a line: image {slices[worst][1].get('InstanceNumber', '?')} at "
            f"{heights[worst]:.2f} mm is {off[worst]:.2f} mm off (slice distance {typical:.2f} mm). "
            "Load the series in 3D Slicer (which corrects uneven spacing), harden the transform and save it as NRRD."
        )


def _pixels(files: list[Path]) -> np.ndarray:
    """Physical values (D, H, W): rescaled slice by slice; whole numbers as int16, or int32 where that is too small."""
    import SimpleITK as sitk

    planes = [sitk.GetArrayFromImage(sitk.ReadImage(str(file), imageIO="GDCMImageIO"))[0] for file in files]
    dtype: Any = np.float64
    if all(plane.dtype.kind in "iu" for plane in planes):
        limits = np.iinfo(np.int16)
        small = all(plane.min() >= limits.min and plane.max() <= limits.max for plane in planes)
        dtype = np.int16 if small else np.int32
    return np.stack(planes, dtype=dtype, casting="unsafe")
