"""Masks, boundaries and textures as they are written on the command line and in tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import LeFusionError, unknown_name
from .io import read_labels
from .lesion_mask import LesionMask

if TYPE_CHECKING:
    from .models.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class GivenBoundary:
    """Where lesions must stay: the organ in `file`, or a `built_in` one; neither is no boundary."""

    file: str | None = None
    mask: LesionMask | None = None
    built_in: str | None = None


def given_boundary(text: str | None) -> GivenBoundary:
    """`lung`, FILE, FILE:SEGMENT or FILE:2,3,4; the file is read."""
    from .synthesis.boundary import BUILT_IN

    file = boundary_file(text)
    if text is None or file is None:
        return GivenBoundary(built_in=text if text in BUILT_IN else None)
    asked = text[len(file) + 1 :] or None
    try:
        parts = [read_labels(file, asked)]
    except LeFusionError:
        if asked is None or "," not in asked:
            raise
        parts = [read_labels(file, segment) for segment in asked.split(",")]
    inside = np.logical_or.reduce([labels > 0 for labels, _, _ in parts])
    if not inside.any():
        raise LeFusionError(f"The boundary in {Path(file).name} is empty. Give a segmentation with voxels in it.")
    return GivenBoundary(file, LesionMask(inside, parts[0][1], ("boundary",)))


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
