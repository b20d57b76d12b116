"""A lesion as a sketch: made with few steps in the part of the scan around it, to be looked at while it is set up.

With the same seed as the request itself: the tissue with fewer steps, the shape by its model's student where there is
one, which draws nearly its teacher's shape from the same noise.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..geometry import ControlSphere, PatchFrame
from ..modality import check_modality
from ..models.card import default_model, live_model
from ..models.sampler_spec import SamplerSpec
from ..models.spec import ModelSpec
from ..volume import Volume
from .request import SynthesisRequest, mask_model_name


@dataclass(frozen=True, eq=False)
class Sketch:
    """`run_request(volume, request, boundary)` makes it. `box` (k, j, i slices): which part of the scan `volume` is."""

    volume: Volume
    request: SynthesisRequest
    boundary: np.ndarray | None
    box: tuple[slice, slice, slice]


def sketch_of(volume: Volume, request: SynthesisRequest, boundary: np.ndarray | None, spec: ModelSpec) -> Sketch:
    """The sketch of a request for one lesion. boundary: (D, H, W) bool. spec: of the model that makes tissue.

    The whole scan is kept where a part would not do: for a built-in boundary, which is found in all of it, and for
    models whose grey values depend on all of it, unlike those of a fixed window. Raises `LeFusionError` for a scan that
    the model was not made for.
    """
    (lesion,) = request.lesions
    if not request.any_modality:
        check_modality(volume, spec.modality, spec.name)
    box: tuple[slice, slice, slice] = tuple(slice(0, n) for n in volume.shape)  # type: ignore[assignment]
    if spec.intensity["kind"] == "fixed" and request.boundary is None:
        spacing_mm = spec.spacing_mm or volume.spacing_mm
        reach_mm = max(n * mm for shape in spec.patch_shapes for n, mm in zip(shape, spacing_mm, strict=True))
        box, _ = ControlSphere(lesion.center_ras, lesion.diameter_mm + 2 * reach_mm).mask_in_box(volume)
    part = Volume(volume.array[box], PatchFrame.of_box(volume, box).ijk_to_ras, volume.name)
    quick = replace(
        request,
        model=live_model(request.model or default_model()),
        mask_model=live_model(mask_model_name(request.mask_model, spec)),
        sampler=SamplerSpec("draft"),
        any_modality=True,  # asked of the whole scan, above; a part of it may look like another kind
    )
    return Sketch(part, quick, None if boundary is None else boundary[box], box)
