"""What a scene asks for, as the request that every front end shares; and the answer, put back into the scene."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..lesion_mask import LesionMask
from ..models.spec import ModelSpec
from ..synthesis.boundary import boundary_mask
from ..synthesis.draw import handcrafted_drawer
from ..synthesis.request import LesionRequest, SynthesisRequest
from ..synthesis.result import SynthesisResult
from ..volume import Volume, spacing_of
from .boundary import boundary_on
from .host import Host
from .housekeeping import find_node
from .parameters import Parameters
from .results import SceneResult, add_result
from .spheres import center_world, control_sphere_of, drawing_boundary, grid_of, read_settings
from .transforms import matrix_between
from .volumes import checked_scan, volume_from_node


@dataclass(frozen=True, eq=False)
class SceneJob:
    """What `run_request` or a worker needs, copied out of the scene: nodes may change or go while the work runs.

    `request` is in the frame of `volume`; `boundary` (D, H, W) bool, or None where the request says all.
    `volume_id` is the node, found again when the work is done.
    """

    volume_id: str
    volume: Volume
    request: SynthesisRequest
    boundary: np.ndarray | None

    def finish(self, host: Host, result: SynthesisResult) -> SceneResult:
        """Put the result beside its scan; an error, and the scene as it was, where the scan is gone."""
        source = find_node(host.scene, self.volume_id, "volume")
        numbers, mask = result.lesion_numbers, result.lesion_mask
        assert numbers is not None
        lesions = [
            LesionMask(mask.array & (numbers == n), mask.ijk_to_ras, mask.classes)
            for n in range(1, len(self.request.lesions) + 1)
        ]
        return add_result(host, source, result.volume.array, lesions, result.report)


def check_lesions(
    volume_node: Any,
    spheres: Sequence[Any],
    spec: ModelSpec,
    mask_spec: ModelSpec | None = None,
    bounded: bool = True,
) -> None:
    """Raise the `LeFusionError` that says why these spheres (nodes) cannot be filled yet; quick enough to be asked
    while one of them is dragged. `spec` is of the model that makes tissue, `mask_spec` of the one that draws shapes;
    `bounded`: is a boundary chosen?"""
    checked_scan(volume_node)
    if not spheres:
        raise LeFusionError("There is no lesion yet. Press 'Add lesion' and click into a view.")
    if mask_spec is not None and mask_spec.mask is not None:
        mask_spec.mask.check_boundary(bounded)
    grid = grid_of(volume_node)
    for sphere in spheres:
        placed = control_sphere_of(sphere, volume_node)
        placed.check_inside(grid)
        placed.check_slices(grid)
        settings = read_settings(sphere)
        for model in filter(None, (spec, mask_spec)):
            model.check_diameter(settings.diameter_mm, spacing_of(grid.ijk_to_ras))
        for name in settings.classes:
            if name not in spec.classes:
                raise unknown_name(f"class of model '{spec.name}'", name, spec.classes)
        if mask_spec is None:
            handcrafted_drawer(settings.classes)


def request_of(parameters: Parameters, spheres: Sequence[Any] | None = None) -> SynthesisRequest:
    """The request as the parameter node holds it, its lesions in the world; of these `spheres` alone, where given.
    Raises `LeFusionError` for spheres that are not placed yet."""
    lesions = []
    for sphere in parameters.spheres if spheres is None else spheres:
        settings = read_settings(sphere)
        place = center_world(sphere)
        lesions.append(
            LesionRequest(
                place, settings.diameter_mm, settings.texture, settings.lesion_class, settings.seed, settings.shape
            )
        )
    return SynthesisRequest(
        tuple(lesions),
        parameters.model,
        parameters.mask_model or None,
        parameters.built_in_boundary or None,
        parameters.sampler,
        parameters.device,
        lesions[0].seed or 0 if lesions else 0,
        parameters.any_modality,
    )


def prepare(
    volume_node: Any, request: SynthesisRequest, boundary: tuple[Any, str] | None = None, volume: Volume | None = None
) -> SceneJob:
    """Copy all that is needed out of the scene. `request` has its lesions in the world; `boundary`: (segmentation node,
    segment ID) in which they stay. `volume`: as it was read from its file, where the node was made from it; a result
    is then saved as that file was. Raises `LeFusionError` for what cannot be done, before any work is."""
    volume = volume or volume_from_node(volume_node)
    spheres = [lesion.sphere for lesion in request.lesions]
    placed = [control_sphere_of(sphere, volume_node) for sphere in spheres]
    for sphere in placed:
        sphere.check_inside(volume)
    lesions = tuple(
        replace(lesion, center_ras=sphere.center_ras) for lesion, sphere in zip(request.lesions, placed, strict=True)
    )
    allowed = None
    linear = matrix_between(volume_node, None) is not None
    if not linear or boundary is not None:
        # Spheres do not overlap where lesions do not; so what each of them allows can be told in one mask.
        allowed = np.zeros(volume.shape, dtype=bool)
        for sphere in spheres:
            part = drawing_boundary(sphere, volume_node, boundary)
            assert part is not None
            allowed |= part
    if linear and boundary is not None:
        allowed = boundary_on(volume_node, *boundary)  # all of it: a model that draws inside an organ is shown it
    if not linear and (organ := boundary_mask(request.boundary, volume)) is not None:
        assert allowed is not None
        allowed &= organ
        request = replace(request, boundary=None)
    return SceneJob(volume_node.GetID(), volume, replace(request, lesions=lesions), allowed)
