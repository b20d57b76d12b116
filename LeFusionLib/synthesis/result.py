"""What a synthesis gives back, and how it is saved."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import LeFusionError
from ..io import check_output, output_suffix, write_segmentation, write_volume, written_together
from ..lesion_mask import LesionMask
from ..terminology import terminology_entry
from ..volume import Volume

CLASS_COLORS = ((0.90, 0.35, 0.25), (0.25, 0.60, 0.90), (0.95, 0.75, 0.20), (0.45, 0.75, 0.35))


def class_color(name: str, classes: Sequence[str]) -> tuple[float, float, float]:
    """The colour (r, g, b in 0 to 1) of a class among those of its model."""
    return CLASS_COLORS[list(classes).index(name) % len(CLASS_COLORS)]


@dataclass(frozen=True, eq=False)
class SynthesisResult:
    """`volume` with the lesion in it, `lesion_mask` on the same grid, the `report`, and the untouched `original`.

    `lesion_numbers` (D, H, W) uint16 tells the lesions apart: n in the n-th mask asked for, from 1; 0 outside. None
    where nobody counted.
    """

    volume: Volume
    lesion_mask: LesionMask
    report: dict[str, Any]
    original: Volume
    lesion_numbers: np.ndarray | None = None

    def save(
        self,
        stem: str | Path,
        image_format: str | None = None,
        overwrite: bool = False,
        inputs: Sequence[str | Path] = (),
    ) -> list[Path]:
        """Write `stem` + .nii.gz (or `image_format`, by default the input's), .seg.nrrd and .json; returns the paths.

        Existing files are refused unless `overwrite`. The volume's own file is never overwritten, nor are `inputs`.
        """
        paths = output_paths(stem, image_format or output_suffix(self.original))
        check_output(paths, [*inputs, *filter(None, [self.original.source])], overwrite)
        marks = synthetic_marks(self.report)
        segments = [
            {
                "name": name,
                "label": number,
                "color": class_color(name, self.lesion_mask.classes),
                "terminology": terminology_entry(name),
            }
            for number, name in enumerate(self.lesion_mask.classes, start=1)
        ]
        try:
            paths[0].parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LeFusionError(
                f"The folder {paths[0].parent} cannot be made: {error.strerror}. Choose another folder."
            ) from error
        with written_together(paths) as (image, segmentation, report):
            write_volume(self.volume, image, synthetic=marks)
            write_segmentation(
                self.lesion_mask.labels(), self.volume.ijk_to_ras, segmentation, segments, synthetic=marks
            )
            report.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")
        return paths


def output_paths(stem: str | Path, suffix: str) -> list[Path]:
    """Image, segmentation and report beside each other."""
    stem = Path(stem)
    return [stem.with_name(stem.name + ending) for ending in (suffix, ".seg.nrrd", ".json")]


def synthetic_marks(report: dict[str, Any]) -> dict[str, str]:
    """What goes into file headers: that this is synthetic, and how it was made."""
    return {
        "synthetic": "true",
        "software": f"LeFusion {__version__}",
        "model": report["model"]["name"],
        "seed": str(report["seed"]),
        "input_sha256": report["input"]["sha256"],
    }


def together(masks: Sequence[LesionMask]) -> LesionMask:
    """One mask of all lesions, which do not overlap."""
    array = np.logical_or.reduce([mask.array for mask in masks])
    return replace(masks[0], array=array, sphere=None, drawn_by=None)


def numbered(masks: Sequence[LesionMask]) -> np.ndarray:
    """(D, H, W) uint16: n where the n-th mask is, from 1; they do not overlap."""
    numbers = np.zeros(masks[0].shape, dtype=np.uint16)
    for number, mask in enumerate(masks, start=1):
        numbers[mask.union] = number
    return numbers
