"""Hearts in late-enhancement MRI (EMIDEC): short-axis stacks with their labels, from an archive, folders or pairs."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LeFusionError
from ..geometry import PatchFrame, same_grid
from ..intensity import IntensityWindow, window_for
from ..volume import spacing_of

# Of the data set's label maps: 0 background, 1 cavity of the left ventricle, 2 its muscle without a lesion.
LABELS = {"infarct": 3, "no_reflow": 4}
MYOCARDIUM = (2, 3, 4)  # the muscle with its lesions
# The test patients of the published split.
TEST_PATIENTS = tuple(f"Case_P{number:03d}" for number in (5, 8, 39, 57, 61, 71, 72, 77, 78, 82))

# The archive's source has no spacing. The data set's slices are 8 to 13 mm apart, its pixels 1.4 to 1.9 mm wide.
ASSUMED_MM = (10.0, 1.4, 1.4)
ROUND = 1.1  # a left ventricle across its axis is rounder than this; longer ones were stretched


@dataclass(frozen=True, eq=False)
class Heart:
    """`image` (D, H, W) float32 grey values and `labels` (D, H, W) uint8 of one patient, on the grid they came on.

    extremes: the darkest and the brightest value of the whole volume, where the image is only a part of it.
    """

    image: np.ndarray
    labels: np.ndarray
    ijk_to_ras: np.ndarray
    patient: str
    extremes: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(np.unique(self.labels).tolist()) - {0, 1, *MYOCARDIUM})
        if unknown:
            raise LeFusionError(
                f"The label map of {self.patient} has the numbers {', '.join(map(str, unknown))}. Possible are 0 "
                "background, 1 cavity, 2 myocardium, 3 infarct, 4 no-reflow; renumber the map."
            )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(D, H, W) in mm."""
        return spacing_of(self.ijk_to_ras)

    @property
    def organ(self) -> np.ndarray:
        """(D, H, W) bool: the muscle with its lesions."""
        return np.isin(self.labels, MYOCARDIUM)

    def masks(self, classes: Sequence[str]) -> np.ndarray:
        """(L, D, H, W) bool."""
        return np.stack([self.labels == LABELS[name] for name in classes])

    def window(self, rule: Mapping[str, Any]) -> IntensityWindow:
        """The grey-value window of the whole volume; what only the whole volume can say is refused for a part."""
        if self.extremes is None:
            return window_for(rule, self.image)
        if rule.get("kind") == "middle":  # the crops were taken round the organ; their black border is no image
            shown = self.image[self.image > self.extremes[0]]
            return window_for(dict(rule) | {"kind": "percentile"}, shown)
        if rule.get("kind") == "percentile":
            raise LeFusionError(
                "The archive holds parts of the volumes, whose percentiles are others than those of the whole. Train "
                "on the original cases, or with a window of kind 'middle' or 'range'."
            )
        return window_for(rule, np.array(self.extremes))


def read_archive(file: Path) -> Iterator[Heart]:
    """Hearts of an archive in 8 bit (0 and 255: a whole volume's darkest and brightest voxel), pixels made square."""
    archive = np.load(file)
    images, labels, cases = archive["images_u8"], archive["labels"], archive["case_id"]
    k, j, i = ASSUMED_MM
    for patient in dict.fromkeys(cases):
        rows = np.flatnonzero(cases == patient)
        rows = rows[np.argsort(archive["slice_index"][rows])]
        image, label = with_square_pixels(images[rows].astype(np.float32), labels[rows])
        yield Heart(image, label, np.diag([-i, -j, k, 1.0]), str(patient), (0.0, 255.0))


def read_folders(file: Path) -> Iterator[Heart]:
    """One case of the original layout: `Case_P001/Images/Case_P001.nii.gz` and `Contours/Case_P001.nii.gz`."""
    yield _pair(file.parents[1] / "Images" / file.name, file)


def read_pair(file: Path) -> Iterator[Heart]:
    """`NAME_image.nii.gz` beside `NAME_label.nii.gz`."""
    yield _pair(file.with_name("_image.".join(file.name.rsplit("_label.", 1))), file)


# What label files are called in a folder, and who reads one: the first pattern that is met counts.
SOURCES: dict[str, Callable[[Path], Iterator[Heart]]] = {
    "emidec_*.npz": read_archive,
    "Case_*/Contours/Case_*.nii*": read_folders,
    "*_label.nii*": read_pair,
}


def with_square_pixels(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undo the stretching of volumes that were made square pictures: (D, H, W) each, slices as they are.

    In a short-axis view the left ventricle is round. Where its outline (median over the slices that hold at least half
    of its largest area) is longer one way by more than a tenth, that axis is shortened; otherwise nothing changes.
    """
    from scipy import ndimage

    outline = labels > 0
    area = outline.sum(axis=(1, 2))
    if not area.any():
        return image, labels
    spreads = [np.argwhere(s).std(axis=0) for s in outline[area >= area.max() / 2]]
    ratio = float(np.median([max(h, 0.5) / max(w, 0.5) for h, w in spreads]))
    if 1 / ROUND <= ratio <= ROUND:
        return image, labels
    factors = (1.0, min(1.0, 1 / ratio), min(1.0, ratio))
    grid = {"mode": "nearest", "grid_mode": True}
    return ndimage.zoom(image, factors, order=1, **grid), ndimage.zoom(labels, factors, order=0, **grid)


def _pair(image_file: Path, label_file: Path) -> Heart:
    from ..io import read_labels, read_volume

    if not image_file.exists():
        raise LeFusionError(f"{label_file.name} has no image; expected {image_file.parent.name}/{image_file.name}.")
    volume = read_volume(image_file)
    labels, ijk_to_ras, _ = read_labels(label_file)
    if not same_grid(PatchFrame(labels.shape, ijk_to_ras), volume):  # type: ignore[arg-type]
        raise LeFusionError(f"{label_file.name} is on another grid than its image. Resample it onto the image.")
    found = re.search(r"[NP]\d{3}(?!\d)", label_file.name)
    patient = f"Case_{found[0]}" if found else label_file.name.split(".")[0].removesuffix("_label")
    return Heart(volume.array.astype(np.float32), labels.astype(np.uint8), volume.ijk_to_ras, patient)
