"""Do drawn lesions lie as real ones do? Shapes of held-out patients drawn again, in their own sphere and organ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import LeFusionError
from ..geometry import ControlSphere
from ..lesion_mask import LesionMask
from ..level_set import NEIGHBOURS
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from ..synthesis.draw import draw_lesion_mask
from ..volume import Volume
from .remade_figure import MOST_SHOWN, Tile, picture_grid

REFUSED = -1.0  # delivered diameter of a sphere in which nothing could be drawn
ORGAN_GREY, CLASS_GREYS = -0.5, (0.9, 0.2)


class OrganLesion(Protocol):
    """A real lesion in its organ (D, H, W) bool, and the smallest sphere around it."""

    @property
    def lesion(self) -> LesionMask: ...
    @property
    def organ(self) -> np.ndarray: ...
    @property
    def sphere(self) -> ControlSphere: ...


@dataclass(frozen=True)
class Row:
    """One lesion, real and drawn. Lengths in mm, volumes in mm3; `inner_*`: of the classes after the first.

    dice: of all classes together with the real ones. outside_organ: drawn voxels. detached_*: voxels of the inner
    classes in pieces that touch no voxel of the class before them.
    """

    case: int
    asked: float
    delivered: float
    dice: float
    volume_real: float
    volume_drawn: float
    inner_real: float
    inner_drawn: float
    outside_organ: int
    detached_real: int
    detached_drawn: int


def redraw(
    model: Model, cases: Sequence[OrganLesion], seed: int = 0, sampler: SamplerSpec | None = None
) -> tuple[list[LesionMask | None], list[Row]]:
    """Every lesion drawn again with the classes that it has; None where the sphere was refused."""
    drawn: list[LesionMask | None] = []
    rows = []
    for number, case in enumerate(cases):
        real = case.lesion
        blank = Volume(np.zeros(real.shape, dtype=np.uint8), real.ijk_to_ras)
        classes = [name for name in real.classes if real.voxels(name)]
        try:
            made: LesionMask | None = draw_lesion_mask(
                blank, case.sphere, model, case.organ, seed + number, classes, sampler=sampler
            )
        except LeFusionError:
            made = None
        drawn.append(made)
        rows.append(_row(number, case, made))
    return drawn, rows


def _row(number: int, case: OrganLesion, made: LesionMask | None) -> Row:
    real = case.lesion
    values = dict(case=number, asked=round(case.sphere.diameter_mm, 2), volume_real=round(real.volume_mm3(), 1))
    values |= dict(inner_real=_inner_mm3(real), detached_real=detached(real))
    if made is None:
        nothing = dict(dice=0.0, volume_drawn=0.0, inner_drawn=0.0, outside_organ=0, detached_drawn=0)
        return Row(**values, delivered=REFUSED, **nothing)  # type: ignore[arg-type]
    shared = int((made.union & real.union).sum())
    return Row(
        **values,  # type: ignore[arg-type]
        delivered=round(made.diameter_mm(), 2),
        dice=round(2 * shared / (made.voxels() + real.voxels()), 4),
        volume_drawn=round(made.volume_mm3(), 1),
        inner_drawn=_inner_mm3(made),
        outside_organ=int((made.union & ~case.organ).sum()),
        detached_drawn=detached(made),
    )


def _inner_mm3(mask: LesionMask) -> float:
    return round(sum(mask.volume_mm3(name) for name in mask.classes[1:] if mask.voxels(name)), 1)


def detached(mask: LesionMask) -> int:
    """Voxels of the classes after the first in pieces without a neighbour of the class before."""
    from scipy import ndimage

    count = 0
    for outer, inner in zip(mask.array, mask.array[1:], strict=False):
        parts, _ = ndimage.label(inner, structure=NEIGHBOURS)
        touching = np.unique(parts[ndimage.binary_dilation(outer, structure=NEIGHBOURS)])
        count += int((inner & ~np.isin(parts, touching)).sum())
    return count


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Shares and medians over the lesions that were drawn."""
    made = [row for row in rows if row.delivered != REFUSED]
    inner = [row for row in made if row.inner_real]

    def median(values: Sequence[float]) -> float | None:
        return round(float(np.median(values)), 3) if len(values) else None

    return {
        "lesions": len(rows),
        "refused": len(rows) - len(made),
        "outside_organ": sum(row.outside_organ for row in made),
        "inner_detached_real": _share(rows, "detached_real"),
        "inner_detached_drawn": _share(made, "detached_drawn"),
        "inner_where_none_was_asked": sum(row.inner_drawn > 0 for row in made if not row.inner_real),
        "diameter_error": median([abs(row.delivered / row.asked - 1) for row in made]),
        "dice": median([row.dice for row in made]),
        "volume_ratio": median([row.volume_drawn / row.volume_real for row in made]),
        "inner_volume_ratio": median([row.inner_drawn / row.inner_real for row in inner]),
    }


def _share(rows: Sequence[Row], name: str) -> int:
    """How many lesions have such voxels."""
    return sum(getattr(row, name) > 0 for row in rows)


def markdown(summary: dict[str, Any]) -> str:
    """The summary as a table."""
    from .shape_tables import markdown_table

    return "\n".join(markdown_table(["", ""], [[k.replace("_", " "), str(v)] for k, v in summary.items()])) + "\n"


def picture(cases: Sequence[OrganLesion], drawn: Sequence[LesionMask | None], path: Path) -> None:
    """One column per lesion, real above and drawn below, in the organ; the slice with most of the real one."""
    rows: list[list[Tile]] = [[], []]
    for case, made in list(zip(cases, drawn, strict=True))[:MOST_SHOWN]:
        k = int(case.lesion.union.sum(axis=(1, 2)).argmax())
        box = tuple(slice(n.start, n.stop) for n in LesionMask(case.organ, case.lesion.ijk_to_ras).bounding_box()[1:])
        for row, mask in zip(rows, (case.lesion, made), strict=True):
            grey = np.where(case.organ[k], ORGAN_GREY, -1.0)
            for index, own in enumerate(mask.array if mask is not None else ()):
                grey[own[k]] = CLASS_GREYS[index % len(CLASS_GREYS)]
            row.append((grey[box], []))
    picture_grid(rows, ["real", "drawn"], (), path)
