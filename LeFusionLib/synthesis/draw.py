"""A lesion's shape from a control sphere: drawn, fitted to the size asked for, measured; and again if it misses."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import LeFusionError
from ..geometry import ControlSphere, Grid, PatchFrame
from ..lesion_mask import LesionMask
from ..volume import Volume
from .boundary import Boundary, boundary_mask
from .chance import place_generator

if TYPE_CHECKING:
    from ..models.sampler_spec import SamplerSpec
    from ..models.zoo import Model
    from .watch import Cancel, Progress

logger = logging.getLogger(__name__)

HANDCRAFTED = "handcrafted"
DIFFMASK = "lung-nodule-mask"
ATTEMPTS = 12  # before a sphere is refused
MOST_CORRECTED = 0.3  # of the sphere's size; a shape that must be moved or scaled more has missed it
FIT_ROUNDS = 3
FEW_SLICES = 3
TOLERANCE = 0.15  # of the diameter, for shapes without a model that says otherwise


class Shape(Protocol):
    """A lesion's form with its place in the world: a surface (`LevelSet`), or voxels (`GridShape`)."""

    def enclosing_sphere(self) -> ControlSphere:
        """The smallest sphere around it."""

    def fitted_to(self, sphere: ControlSphere) -> "Shape":
        """Brought to the size of the sphere, where it can be."""

    def mask_on(self, volume: Grid, allowed: np.ndarray, diameter_mm: float) -> np.ndarray:
        """(L, D, H, W) bool on the volume's grid, in `allowed` only."""


@dataclass(frozen=True)
class Drawer:
    """A source of shapes: `shape(sphere, rng)` is one of `classes`, or None where the dice left nothing; `tolerance` is
    the share of the diameter by which it may miss."""

    name: str
    classes: tuple[str, ...]
    tolerance: float
    shape: Callable[[ControlSphere, np.random.Generator], Shape | None]


def draw_lesion_mask(
    volume: Volume,
    sphere: ControlSphere,
    model: "Model | str | Path" = DIFFMASK,
    boundary: Boundary = None,
    seed: int = 0,
    lesion_class: str | Sequence[str] | None = None,
    number: int = 0,
    ratings: Mapping[str, float] | None = None,
    sampler: "SamplerSpec | None" = None,
    device: str = "auto",
    progress: "Progress | None" = None,
    cancel: "Cancel | None" = None,
) -> LesionMask:
    """The mask of one lesion inside `sphere` and, where given, inside `boundary`, on the volume's grid.

    model: a bundled mask model, a model folder, a published `diffmask.pt`, or "handcrafted", the overlapping ellipsoids
    of the paper's baseline (Hu et al. 2023). boundary: a mask on the volume's grid, (D, H, W) bool, or "lung" for the
    built-in lung segmentation of a CT. seed, number: the same seed, sphere and volume grid give the same shapes;
    `number` is which of them, 0, 1, ... lesion_class: one of the model's classes, or several
    that are drawn together; all where not given. A class that is named is there, one that is not named is not.
    ratings: {name: 1 to 5}, how the shape is steered, of the model's `ratings`. sampler: open settings are the model's.

    The delivered diameter is as `LesionMask.diameter_mm` measures. Where it misses what was asked for, or what the
    boundary leaves room for, by more than the model's tolerance and more than a voxel, the shape is drawn again, twelve
    times at most. Raises `LeFusionError` for spheres that are outside the volume, smaller than a voxel, without a
    voxel of the boundary, too large for the model, or cannot be met; `Cancelled` within one evaluation.
    """
    sphere.check_inside(volume)
    sphere.check_slices(volume)
    check_number(number)
    classes = class_names(lesion_class)
    inside = boundary_mask(boundary, volume)
    box, allowed = sphere.mask_in_box(volume)
    if inside is not None:
        allowed &= inside[box]
    if not allowed.any():
        raise LeFusionError(
            f"The sphere of {sphere.diameter_mm:g} mm at {sphere.center_ras} holds no voxel"
            + (" of the volume." if inside is None else " inside the boundary.")
            + " Move it, or make it larger."
        )
    slices = int(allowed.any(axis=(1, 2)).sum())
    if slices < FEW_SLICES:
        logger.warning(
            "The sphere of %.1f mm meets few slices (%d of %.1f mm): the lesion will be coarse.",
            sphere.diameter_mm, slices, volume.spacing_mm[0],
        )  # fmt: skip
    if model == HANDCRAFTED:
        drawer = handcrafted_drawer(classes, ratings)
    else:
        from .diffmask import mask_drawer, open_mask_model

        opened = open_mask_model(model, device)
        opened.spec.check_diameter(sphere.diameter_mm, volume.spacing_mm)
        drawer = mask_drawer(opened, volume, inside, classes, ratings or {}, sampler, progress, cancel)
    rng = place_generator(seed, sphere.center_ras).spawn(number + 1)[number]
    drawn = _drawn_until_it_fits(drawer, PatchFrame.of_box(volume, box), sphere, allowed, rng, bool(classes))
    array = np.zeros((len(drawn), *volume.shape), dtype=bool)
    array[(slice(None), *box)] = drawn
    return LesionMask(array, volume.ijk_to_ras, drawer.classes, sphere=sphere, drawn_by=drawer.name)


def check_number(number: object) -> None:
    """Which of a seed's shapes is meant: 0, 1, 2, ..."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise LeFusionError(f"The shape's number is 0, 1, 2, ...; got {number!r}.")


def class_names(lesion_class: str | Sequence[str] | None) -> tuple[str, ...]:
    """The classes that were named, in their order, each once; () where all are meant."""
    names = [] if lesion_class is None else [lesion_class] if isinstance(lesion_class, str) else list(lesion_class)
    return tuple(dict.fromkeys(names))


def handcrafted_drawer(classes: Sequence[str] = (), ratings: Mapping[str, float] | None = None) -> Drawer:
    """Shapes made by hand, of any one class."""
    if len(classes) > 1:
        raise LeFusionError(
            f"Hand-crafted shapes are of one class; {', '.join(classes)} are drawn together by a mask model only. "
            "Name one class, or a mask model that knows them (`lefusion models`)."
        )
    if ratings:
        raise LeFusionError("Hand-crafted shapes cannot be steered by ratings; choose a mask model for that.")
    from .shapes import handcrafted_shape  # needs scipy, which a program that only asks may lack

    return Drawer(HANDCRAFTED, (classes[0] if classes else "nodule",), TOLERANCE, handcrafted_shape)


def _drawn_until_it_fits(
    drawer: Drawer,
    grid: PatchFrame,
    sphere: ControlSphere,
    allowed: np.ndarray,
    rng: np.random.Generator,
    every_class: bool,
) -> np.ndarray:
    """(L, d, h, w) bool on `grid`, the box of the volume that holds the sphere; within `allowed` (d, h, w). With
    `every_class` a shape in which one of the drawer's classes is missing is drawn again."""
    room = _room(grid, sphere, allowed)
    missed_mm = max(drawer.tolerance * room.diameter_mm, max(grid.spacing_mm))
    delivered = []
    for attempt in range(ATTEMPTS):
        shape = drawer.shape(sphere, rng)
        if shape is None or not _near(shape.enclosing_sphere(), room):
            delivered.append("nothing of that size")
            continue
        array, diameter_mm = _fitted(shape, grid, room, allowed)
        missing = [name for name, mask in zip(drawer.classes, array, strict=True) if not mask.any()]
        if every_class and array.any() and missing:
            delivered.append(f"no {', '.join(missing)}")
            continue
        if abs(diameter_mm - room.diameter_mm) <= missed_mm:
            return array
        delivered.append(f"{diameter_mm:.1f} mm")
        logger.info("attempt %d: %s instead of %.1f mm", attempt + 1, delivered[-1], room.diameter_mm)
    missed = ", ".join(dict.fromkeys(delivered))
    raise LeFusionError(
        f"{ATTEMPTS} shapes were drawn in the sphere of {sphere.diameter_mm:g} mm at {sphere.center_ras}, and none met "
        f"its size ({missed}; {room.diameter_mm:.1f} mm are possible there). Take another seed, move the "
        "sphere further inside the boundary, or draw with the mask model 'handcrafted'."
    )


def _room(grid: PatchFrame, sphere: ControlSphere, allowed: np.ndarray) -> ControlSphere:
    """The sphere itself, or where a boundary cuts it, the smallest sphere around what is left."""
    if np.array_equal(allowed, sphere.mask_on(grid)):
        return sphere
    left = LesionMask(allowed, grid.ijk_to_ras)
    return ControlSphere(left.center_ras, min(sphere.diameter_mm, left.diameter_mm()))


def _near(own: ControlSphere, room: ControlSphere) -> bool:
    """Has the shape kept to its sphere?"""
    apart_mm = float(np.linalg.norm(np.subtract(own.center_ras, room.center_ras)))
    most_mm = MOST_CORRECTED * room.diameter_mm
    return apart_mm <= most_mm / 2 and abs(own.diameter_mm - room.diameter_mm) <= most_mm


def _fitted(shape: Shape, grid: PatchFrame, room: ControlSphere, allowed: np.ndarray) -> tuple[np.ndarray, float]:
    """The shape on the grid, scaled a little until its measured diameter is the one asked for; and that."""
    best: tuple[float, np.ndarray, float] | None = None
    wanted_mm = room.diameter_mm
    for _ in range(FIT_ROUNDS):
        array = shape.fitted_to(ControlSphere(room.center_ras, wanted_mm)).mask_on(grid, allowed, room.diameter_mm)
        if not array.any():  # all that was drawn lies outside the room
            return array, 0.0
        diameter_mm = LesionMask(np.any(array, axis=0), grid.ijk_to_ras).diameter_mm()
        if best is None or abs(diameter_mm - room.diameter_mm) < best[0]:
            best = abs(diameter_mm - room.diameter_mm), array, diameter_mm
        most = MOST_CORRECTED * room.diameter_mm
        wanted_mm = float(
            np.clip(wanted_mm * room.diameter_mm / diameter_mm, room.diameter_mm - most, room.diameter_mm + most)
        )
    assert best is not None
    return best[1], best[2]
