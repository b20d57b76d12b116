"""Masks, boundaries and textures as they are written on the command line and in tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import LeFusionError, unknown_name
from .geometry import describe_grid, nearest_on, same_grid
from .io import read_labels, segment_names
from .lesion_mask import LesionMask
from .volume import Volume

if TYPE_CHECKING:
    from .models.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class GivenBoundary:
    """Where lesions must stay: the organ in `file`, or a `built_in` one; neither is no boundary."""

    file: str | None = None
    mask: LesionMask | None = None
    built_in: str | None = None


def given_boundary(text: str | None, volume: Volume) -> GivenBoundary:
    """`lung`, FILE, FILE:SEGMENT or FILE:2,3,4; the file is read, its organ is on the volume's grid."""
    from .synthesis.boundary import BUILT_IN

    file = boundary_file(text)
    if text is None or file is None:
        return GivenBoundary(built_in=text if text in BUILT_IN else None)
    return GivenBoundary(file, organ_in(file, named_segments(text, file), volume))


def named_segments(text: str, file: str) -> list[str]:
    """The segments in FILE:SEGMENTS; [] for all. A comma parts them, unless one segment has it in its name."""
    asked = text[len(file) + 1 :]
    if "," not in asked or asked in segment_names(file):
        return [asked] if asked else []
    return asked.split(",")


def organ_in(file: str | Path, segments: Sequence[str], volume: Volume) -> LesionMask:
    """The segments of a label map or segmentation together, all where none is named, on the volume's grid.

    A file on another grid is met where it lies in the world, as 3D Slicer does: each voxel of the volume has the label
    of the voxel nearest to its centre. Raises `LeFusionError` where nothing is there.
    """
    name = Path(file).name
    parts = [read_labels(file, segment) for segment in segments] or [read_labels(file)]
    inside = np.logical_or.reduce([labels > 0 for labels, _, _ in parts])
    if not inside.any():
        raise LeFusionError(f"The boundary in {name} is empty. Give a segmentation with voxels in it.")
    organ = LesionMask(inside, parts[0][1], ("boundary",))
    if same_grid(organ, volume):
        return organ
    here = nearest_on(inside, np.linalg.inv(organ.ijk_to_ras) @ volume.ijk_to_ras, volume.shape)
    if not here.any():
        raise LeFusionError(
            f"The boundary in {name} has no voxel in the volume '{volume.name}': it lies elsewhere. Boundary: "
            f"{describe_grid(organ)}. Volume: {describe_grid(volume)}. Give the segmentation of this scan."
        )
    return LesionMask(here, volume.ijk_to_ras, ("boundary",))


def boundary_file(text: str | None) -> str | None:
    """The file in FILE or FILE:SEGMENTS; None for no boundary or one that is built in."""
    if text is None or Path(text).exists():
        return text
    from .synthesis.boundary import BUILT_IN

    return None if text in BUILT_IN else text.rpartition(":")[0] or text


def given_mask(path: str, spec: "ModelSpec", numbers: Sequence[str] | None = None) -> LesionMask:
    """The lesions in a file: by `numbers` (CLASS=NUMBER), else by the names of its segments, else by 1, 2, ... in the
    order of the model's classes; other numbers are then refused, since nobody knows what they are."""
    labels, ijk_to_ras, names = read_labels(path)
    if numbers:
        return LesionMask.from_labels(labels, ijk_to_ras, _numbers(numbers, spec))
    named = {name: names[name] for name in spec.classes if name in names}
    if named:
        return LesionMask.from_labels(labels, ijk_to_ras, named)
    expected = {name: number for number, name in enumerate(spec.classes, 1)}
    unknown = sorted(set(names.values()) - set(expected.values()))
    if unknown:
        raise LeFusionError(
            f"The mask {Path(path).name} has the numbers {', '.join(map(str, sorted(names.values())))}; the classes of "
            f"model '{spec.name}' are {', '.join(spec.classes)}. Say which is which, such as "
            f"--labels {' '.join(f'{name}={n}' for n, name in enumerate(spec.classes, unknown[0]))}."
        )
    return LesionMask.from_labels(labels, ijk_to_ras, expected)


def _numbers(pairs: Sequence[str], spec: "ModelSpec") -> dict[str, int]:
    """`--labels CLASS=NUMBER ...`"""
    numbers = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if name not in spec.classes:
            raise unknown_name(f"lesion class in model '{spec.name}'", name, spec.classes)
        if not number.isdigit():
            raise LeFusionError(f"A label is written CLASS=NUMBER, such as {spec.classes[0]}=1; got {pair!r}.")
        numbers[name] = int(number)
    return numbers


def only_classes(mask: LesionMask, classes: Sequence[str]) -> LesionMask:
    """The mask without the classes that are not named; all of it where none is."""
    if not classes:
        return mask
    for name in classes:
        if name not in mask.classes or not mask.voxels(name):
            there = [known for known in mask.classes if mask.voxels(known)]
            raise unknown_name("class in the mask", name, there)
    kept = [mask.classes.index(name) for name in classes]
    return LesionMask(mask.array[kept], mask.ijk_to_ras, tuple(classes))


def given_texture(words: Sequence[str]) -> Any:
    """One texture, or {class: texture} from CLASS=TEXTURE for each class."""
    parts = [text.partition("=") for text in words]
    if all(equals for _, equals, _ in parts):
        return {name: _number_or_name(value) for name, _, value in parts}
    if len(parts) > 1:
        raise LeFusionError("Give one texture, or CLASS=TEXTURE for each class.")
    return _number_or_name(words[0])


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdigit() else text
