"""Control spheres in the scene: a list of one point, and on the same node what is to grow there.

Diameter, class, texture, seed and shape are attributes of the node, so that a saved scene brings them back, and a
sphere that is copied or deleted takes them along. Each sphere has its own; the ball that is shown is
`SphereModels`' business.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import LeFusionError
from ..geometry import TIE_MM, ControlSphere, Grid
from ..models.spec import ModelSpec
from ..synthesis.chance import check_seed
from ..synthesis.draw import check_number, class_names
from ..texture import CUSTOM, RANDOM
from .boundary import boundary_on
from .host import Host
from .transforms import matrix_between
from .volumes import checked_scan, frame_matrix, shape_of, voxels_of_world, world_of_voxels, world_to_frame

logger = logging.getLogger(__name__)

SPHERE = "LeFusion.ControlSphere"  # attribute that tells our point lists from the user's
DIAMETER, CLASS, TEXTURE, SEED = "LeFusion.DiameterMm", "LeFusion.Class", "LeFusion.Texture", "LeFusion.Seed"
SHAPE = "LeFusion.Shape"
STORED: dict[str, tuple[str, Callable[[str], Any]]] = {  # attribute: field of SphereSettings, how it is read
    DIAMETER: ("diameter_mm", float),
    CLASS: ("lesion_class", lambda text: json.loads(text) if text.startswith("[") else text),
    TEXTURE: ("texture", lambda text: json.loads(text) if text.startswith(("[", "{")) else text),
    SEED: ("seed", int),
    SHAPE: ("shape", int),
}
SURFACE_POINTS = 200  # asked on a ball's surface for the voxels it can reach


@dataclass(frozen=True)
class SphereSettings:
    """What grows in a sphere: `diameter_mm` in the world, lesion class or several that are drawn together, texture (a
    preset's name, "random" or 16 numbers; of several classes {class: texture}), seed, and which of the seed's shapes.
    Whether the model knows class and texture is for the job to say."""

    diameter_mm: float = 10.0
    lesion_class: str | tuple[str, ...] = "nodule"
    texture: str | tuple[float, ...] | Mapping[str, str | tuple[float, ...]] = "random"
    seed: int = 0
    shape: int = 0

    def __post_init__(self) -> None:
        names = class_names(self.lesion_class)
        object.__setattr__(self, "lesion_class", names if len(names) > 1 else "".join(names))
        if isinstance(self.texture, Mapping):
            plain: Any = {str(name): _plain(texture) for name, texture in self.texture.items()}
        else:
            plain = _plain(self.texture)
        object.__setattr__(self, "texture", plain)
        if not (isinstance(self.diameter_mm, int | float) and 0 < self.diameter_mm < float("inf")):
            raise LeFusionError(f"A sphere's diameter must be above 0 mm; got {self.diameter_mm!r}.")
        object.__setattr__(self, "seed", check_seed(self.seed))
        check_number(self.shape)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class, or several."""
        return class_names(self.lesion_class)

    def texture_of(self, name: str) -> str | tuple[float, ...]:
        """The texture of one of the classes; "random" where none is set."""
        return self.texture.get(name, "random") if isinstance(self.texture, Mapping) else self.texture

    @property
    def texture_names(self) -> tuple[str, ...]:
        """What the textures of the classes are called, in their order."""
        textures = [self.texture_of(name) for name in self.classes]
        return tuple(texture if isinstance(texture, str) else CUSTOM for texture in textures)

    def with_classes(self, names: Sequence[str]) -> "SphereSettings":
        """The same with these classes, each with the texture it had."""
        textures = {name: self.texture_of(name) if name in self.classes else "random" for name in names}
        return replace(self, lesion_class=tuple(names), texture=textures if len(names) > 1 else textures[names[0]])

    def with_texture(self, name: str, texture: str | tuple[float, ...]) -> "SphereSettings":
        """The same with another texture of one of its classes."""
        textures = {known: self.texture_of(known) for known in self.classes} | {name: texture}
        return replace(self, texture=textures if len(self.classes) > 1 else texture)


def _plain(texture: Any) -> str | tuple[float, ...]:
    return texture if isinstance(texture, str) else tuple(float(weight) for weight in texture)


def add_sphere(host: Host, settings: SphereSettings, center_world: Any = None, name: str = "Lesion") -> Any:
    """A new sphere (vtkMRMLMarkupsFiducialNode); without `center_world` (R, A, S) in mm it waits to be placed."""
    node = host.scene.CreateNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.UnRegister(None)  # that call hands over a reference, Python has its own
    node.SetName(host.scene.GenerateUniqueName(name))
    node.SetAttribute(SPHERE, "1")  # before it is added, so that who waits for spheres knows it
    node.SetMaximumNumberOfControlPoints(1)
    node.SetControlPointLabelFormat("%N")
    write_settings(node, settings)
    host.scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSnapMode(display.SnapModeUnconstrained)  # else a point dragged in 3D sticks to skin, or its own ball
    if center_world is not None:
        node.AddControlPointWorld(*[float(mm) for mm in center_world])
    return node


def place_with_mouse(host: Host, node: Any) -> None:
    """The next click in a view places the sphere's point."""
    host.markups.SetActiveList(node)
    host.markups.StartPlaceMode(False)


def like(
    sphere: Any, spheres: Sequence[Any], spec: ModelSpec | None, mask_spec: ModelSpec | None = None
) -> SphereSettings:
    """What a new sphere beside `spheres` starts with: as `sphere` (a node, or None) has it, a class that the model
    `spec` knows, a diameter that the model of the shapes draws, and the next seed."""
    settings = SphereSettings() if sphere is None else read_settings(sphere)
    if spec is not None and not set(settings.classes) <= set(spec.classes):
        settings = replace(settings, lesion_class=spec.classes[0], texture=RANDOM)
    drawn = mask_spec.mask.diameter_range_mm if mask_spec is not None and mask_spec.mask is not None else None
    if drawn is not None and not drawn[0] <= settings.diameter_mm <= drawn[1]:
        middle_mm = math.sqrt(drawn[0] * drawn[1])  # as many doublings up as down
        settings = replace(settings, diameter_mm=float(round(middle_mm)))
    return replace(settings, seed=1 + max((read_settings(node).seed for node in spheres), default=0), shape=0)


def is_sphere(node: Any) -> bool:
    """Is this one of our spheres?"""
    return node is not None and node.IsA("vtkMRMLMarkupsFiducialNode") and node.GetAttribute(SPHERE) == "1"


def read_settings(node: Any) -> SphereSettings:
    """What grows in the sphere; an attribute that is missing or makes no sense counts as not set."""
    settings = SphereSettings()
    for attribute, (field, parse) in STORED.items():
        text = node.GetAttribute(attribute)
        if text:
            changed: dict[str, Any] = {}
            try:
                changed[field] = parse(text)
                settings = replace(settings, **changed)
            except (ValueError, TypeError, LeFusionError):
                logger.warning("%s: %s = %r makes no sense and is not used", node.GetName(), attribute, text)
    return settings


def write_settings(node: Any, settings: SphereSettings) -> None:
    """Set what grows in the sphere."""
    texture, names = (
        value if isinstance(value, str) else json.dumps(value) for value in (settings.texture, settings.lesion_class)
    )
    was_modified = node.StartModify()
    node.SetAttribute(DIAMETER, repr(float(settings.diameter_mm)))
    node.SetAttribute(CLASS, names)
    node.SetAttribute(TEXTURE, texture)
    node.SetAttribute(SEED, str(settings.seed))
    node.SetAttribute(SHAPE, str(settings.shape))
    node.EndModify(was_modified)


def center_world(node: Any) -> tuple[float, float, float]:
    """The sphere's point (R, A, S) in mm of the world; an error if there is none yet, or more than one."""
    if node is None or node.GetScene() is None:
        raise LeFusionError("The sphere was removed from the scene. Place a new one.")
    if not node.IsA("vtkMRMLMarkupsFiducialNode"):
        raise LeFusionError(f"'{node.GetName()}' is no point list. Choose a sphere, or place a new one.")
    defined = node.GetNumberOfDefinedControlPoints()
    if defined != 1:
        remedy = "Keep one, and make a sphere for each other." if defined else "Press Place and click into the volume."
        raise LeFusionError(f"'{node.GetName()}' has {defined} points; a sphere has one. {remedy}")
    states = [node.GetNthControlPointPositionStatus(n) for n in range(node.GetNumberOfControlPoints())]
    point = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(states.index(node.PositionDefined), point)
    return point[0], point[1], point[2]


def world_sphere(sphere: Any) -> ControlSphere:
    """Where a sphere's node lies in the world; a `ControlSphere` of the world is one already."""
    if isinstance(sphere, ControlSphere):
        return sphere
    return ControlSphere(center_world(sphere), read_settings(sphere).diameter_mm)


def control_sphere_of(sphere: Any, volume_node: Any) -> ControlSphere:
    """The sphere in the frame in which `volume_from_node` reads the volume; the world, under linear transforms.

    `sphere`, here and below, is a node or a `ControlSphere` of the world.

    Under a non-linear one its centre meets the right voxel, and its diameter is in the millimetres of that frame,
    which are the world's to the extent that the transform is affine. `sphere_mask_in_world` has no such reserve.
    """
    world = world_sphere(sphere)
    frame_point = world_to_frame(np.array([world.center_ras]), checked_scan(volume_node))[0]
    return ControlSphere(tuple(frame_point), world.diameter_mm)


def sphere_mask_in_world(sphere: Any, volume_node: Any) -> np.ndarray:
    """(D, H, W) bool: the voxels whose centre lies within the sphere, measured in the world's millimetres.

    Equal to `control_sphere_of(sphere, volume_node).mask_on(volume)` under linear transforms. May be empty.
    """
    world = world_sphere(sphere)
    center, radius_mm = np.array(world.center_ras), world.diameter_mm / 2
    if matrix_between(checked_scan(volume_node), None) is not None:
        return world.mask_on(grid_of(volume_node))
    shape = np.array(shape_of(volume_node))
    mask = np.zeros(shape, dtype=bool)
    reached = voxels_of_world(center + radius_mm * np.vstack([np.zeros(3), _directions()]), volume_node)
    low, high = np.floor(reached.min(axis=0)).astype(int), np.ceil(reached.max(axis=0)).astype(int)
    while True:
        low, high = np.clip(low - 2, 0, shape), np.clip(high + 3, 0, shape)  # `high` is one behind the last
        if (low >= high).any():
            return mask
        kji = np.indices(high - low).reshape(3, -1).T + low
        distance_mm = np.linalg.norm(world_of_voxels(kji, volume_node) - center, axis=1)
        inside = kji[distance_mm <= radius_mm + TIE_MM]
        mask[tuple(inside.T)] = True
        # A voxel on the box's face, short of the volume's own: the ball bulges further between the points asked.
        cut = ((inside == low) & (low > 0)).any() or ((inside == high - 1) & (high < shape)).any()
        if not cut:
            return mask


def drawing_boundary(sphere: Any, volume_node: Any, boundary: tuple[Any, str] | None = None) -> np.ndarray | None:
    """What `draw_lesion_mask` gets as boundary for this sphere: (D, H, W) bool, or None for no boundary at all.

    `boundary`: (segmentation node, segment ID) in which the lesion shall stay. Under a non-linear transform the sphere
    of the world is part of it, since there the library's own ball is not quite that; under linear ones it is.
    """
    if boundary is None and matrix_between(checked_scan(volume_node), None) is not None:
        return None
    allowed = sphere_mask_in_world(sphere, volume_node)
    if boundary is not None:
        allowed = boundary_on(volume_node, *boundary, within=allowed)
    _check_any(sphere, allowed, boundary is not None)
    return allowed


def check_meets(sphere: Any, volume_node: Any, organ: np.ndarray) -> None:
    """Refuse a sphere without a voxel of the organ (D, H, W) bool on the volume's grid; quick enough to be asked while
    it is dragged. For linear transforms."""
    box, allowed = control_sphere_of(sphere, volume_node).mask_in_box(grid_of(volume_node))
    _check_any(sphere, allowed & organ[box], True)


def _check_any(sphere: Any, allowed: np.ndarray, bounded: bool) -> None:
    if not allowed.any():
        world = world_sphere(sphere)
        raise LeFusionError(
            f"The sphere of {world.diameter_mm:g} mm at R A S {_mm(world.center_ras)} holds no voxel of the volume"
            + (" inside the boundary." if bounded else ".")
            + " Move it, or make it larger."
        )


def _mm(point: tuple[float, float, float]) -> str:
    return ", ".join(f"{mm:.1f}" for mm in point)


@dataclass(frozen=True, eq=False)
class _Grid:
    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray


def grid_of(volume_node: Any) -> Grid:
    """Shape and matrix as `volume_from_node` has them, without the voxels."""
    return _Grid(shape_of(volume_node), frame_matrix(volume_node))


def _directions() -> np.ndarray:
    """Unit vectors (SURFACE_POINTS, 3) spread evenly: a spiral from pole to pole, each a golden angle on."""
    z = np.linspace(-1, 1, SURFACE_POINTS)
    angle = np.arange(SURFACE_POINTS) * np.pi * (3 - 5**0.5)
    across = np.sqrt(1 - z**2)
    return np.column_stack([across * np.cos(angle), across * np.sin(angle), z])
