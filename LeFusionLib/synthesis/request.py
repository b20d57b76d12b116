"""One request that console, panel, browser app and command line share: what is asked is data, and one function does it.

A request holds no voxels and comes through JSON unchanged. This file needs no torch until a request is run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Cancelled, LeFusionError, check_keys, unknown_name
from ..geometry import ControlSphere
from ..lesion_mask import LesionMask
from ..modality import check_modality
from ..models.sampler_spec import SamplerSpec
from ..texture import TextureHistogram
from ..volume import Volume
from .boundary import BUILT_IN, boundary_mask
from .chance import check_seed
from .draw import HANDCRAFTED, check_number, class_names, draw_lesion_mask

if TYPE_CHECKING:
    from ..models.spec import ModelSpec
    from ..models.zoo import Model
    from .result import SynthesisResult
    from .watch import Cancel, Progress

    OpenModel = Callable[[str, str, str], Model]


@dataclass(frozen=True)
class LesionRequest:
    """One lesion to be made.

    center_ras (R, A, S) in mm and diameter_mm: its control sphere. texture: a preset's name or index, 16 numbers, the
    path of a file, "random", or {class: any of these}. lesion_class: one, or several that are drawn together; None is
    the model's first. seed: None is the request's. shape: which of the seed's shapes, from 0. ratings {name: 1 to 5}:
    how the shape is steered.
    """

    center_ras: tuple[float, float, float]
    diameter_mm: float
    texture: Any = "random"
    lesion_class: str | tuple[str, ...] | None = None
    seed: int | None = None
    shape: int = 0
    ratings: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sphere = ControlSphere(self.center_ras, self.diameter_mm)
        object.__setattr__(self, "center_ras", sphere.center_ras)
        object.__setattr__(self, "diameter_mm", sphere.diameter_mm)
        object.__setattr__(self, "texture", _plain_texture(self.texture))
        object.__setattr__(self, "lesion_class", _plain_classes(self.lesion_class))
        object.__setattr__(self, "seed", None if self.seed is None else check_seed(self.seed))
        check_number(self.shape)
        if not isinstance(self.ratings, Mapping) or not all(_is_number(value) for value in self.ratings.values()):
            raise LeFusionError(f"Ratings are {{name: a number from 1 to 5}}; got {self.ratings!r}.")
        object.__setattr__(self, "ratings", {str(name): float(value) for name, value in self.ratings.items()})

    @property
    def sphere(self) -> ControlSphere:
        return ControlSphere(self.center_ras, self.diameter_mm)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LesionRequest":
        """From JSON; an unknown key is refused and its neighbour named."""
        return _from_dict(cls, "setting of a lesion", values)


@dataclass(frozen=True)
class SynthesisRequest:
    """The lesions of one volume, and with what they are made.

    model: a name, a folder or a published `.pt`; None is the bundled one. mask_model: what draws the shapes, the same
    or "handcrafted"; None is the bundled model that the model names, else by hand. boundary: a built-in one such as
    "lung", or None; a mask is handed to `run_request`. sampler: open settings are the model's. seed: for all lesions
    without one of their own. any_modality: also in scans that the model was not made for. precision: "float32", or on a
    GPU "bfloat16" or "float16".
    """

    lesions: tuple[LesionRequest, ...]
    model: str | None = None
    mask_model: str | None = None
    boundary: str | None = None
    sampler: SamplerSpec = SamplerSpec()
    device: str = "auto"
    seed: int = 0
    any_modality: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "lesions", tuple(self.lesions))
        if not self.lesions or not all(isinstance(lesion, LesionRequest) for lesion in self.lesions):
            raise LeFusionError("There is no lesion to make: give at least one LesionRequest(center_ras, diameter_mm).")
        for name in ("model", "mask_model", "boundary"):
            object.__setattr__(self, name, _name_or_none(name, getattr(self, name)))
        if self.boundary not in (None, *BUILT_IN):
            raise unknown_name("built-in boundary", self.boundary, BUILT_IN)
        if not isinstance(self.sampler, SamplerSpec) or not {type(self.device), type(self.precision)} == {str}:
            raise LeFusionError(
                "The sampler is a SamplerSpec, device and precision are words; "
                f"got {self.sampler!r}, {self.device!r} and {self.precision!r}."
            )
        object.__setattr__(self, "seed", check_seed(self.seed))
        if not isinstance(self.any_modality, bool):
            raise LeFusionError(f"`any_modality` is true or false; got {self.any_modality!r}.")

    @property
    def seeds(self) -> list[int]:
        """Of each lesion."""
        return [self.seed if lesion.seed is None else lesion.seed for lesion in self.lesions]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SynthesisRequest":
        """From JSON; an unknown key is refused and its neighbour named."""
        made: dict[str, Any] = dict(values) if isinstance(values, Mapping) else {}
        if isinstance(made.get("sampler"), Mapping):
            made["sampler"] = SamplerSpec.from_dict(made["sampler"])
        if isinstance(made.get("lesions"), Sequence):
            made["lesions"] = tuple(LesionRequest.from_dict(row) for row in made["lesions"])
        return _from_dict(cls, "setting of a request", made)


def run_request(
    volume: Volume,
    request: SynthesisRequest,
    boundary: LesionMask | np.ndarray | None = None,
    progress: "Progress | None" = None,
    cancel: "Cancel | None" = None,
    models: "OpenModel | None" = None,
) -> "SynthesisResult":
    """Draw every lesion of the request, then make tissue in all of them.

    boundary: a mask on the volume's grid, (D, H, W) bool, instead of a built-in one. progress(step, total, message) and
    cancel() are called at every network evaluation. models(name, device, precision): opens a model, or hands out one
    that is open already; by default `load_model`. The same request gives the same bytes through every door.

    Raises `LeFusionError` for what cannot be made, `Cancelled` within one evaluation of `cancel()` being true.
    """
    from .synthesize import Clock, synthesize

    clock = Clock()
    model = _model(request, models)
    if not request.any_modality:
        check_modality(volume, model.spec.modality, model.spec.name)
    for lesion in request.lesions:
        for name in class_names(lesion.lesion_class):
            if name not in model.spec.classes:
                raise unknown_name(f"lesion class in model '{model.spec.name}'", name, model.spec.classes)
        model.spec.check_diameter(lesion.diameter_mm, volume.spacing_mm)
    clock.lap("model")
    masks = draw_request(volume, request, boundary, progress, cancel, models)
    clock.lap("draw")
    result = synthesize(
        volume,
        masks,
        model,
        # By class, so that sixteen numbers of presets are not taken for one histogram.
        [
            lesion.texture if isinstance(lesion.texture, Mapping) else dict.fromkeys(mask.classes, lesion.texture)
            for lesion, mask in zip(request.lesions, masks, strict=True)
        ],
        request.sampler,
        request.seeds[0] if len(set(request.seeds)) == 1 else request.seeds,
        progress,
        cancel,
        any_modality=True,  # looked at above, before the shapes were drawn
    )
    clock.add(result.report["seconds"])
    seconds = {name: round(value, 3) for name, value in clock.laps.items()}
    return replace(result, report=result.report | {"seconds": seconds})


def draw_request(
    volume: Volume,
    request: SynthesisRequest,
    boundary: LesionMask | np.ndarray | None = None,
    progress: "Progress | None" = None,
    cancel: "Cancel | None" = None,
    models: "OpenModel | None" = None,
) -> list[LesionMask]:
    """The shapes of the request's lesions, which `run_request` fills with tissue."""
    spec = _model(request, models).spec
    mask_model = mask_model_name(request.mask_model, spec)
    return draw_lesions(volume, request, mask_model, spec.classes[0], boundary, progress, cancel, models)


def draw_lesions(
    volume: Volume,
    request: SynthesisRequest,
    mask_model: str,
    lesion_class: str | None,
    boundary: LesionMask | np.ndarray | None = None,
    progress: "Progress | None" = None,
    cancel: "Cancel | None" = None,
    models: "OpenModel | None" = None,
) -> list[LesionMask]:
    """The shape of every lesion, drawn by `mask_model`; those that name no class are of `lesion_class`, or of all."""
    if boundary is not None and request.boundary is not None:
        raise LeFusionError(
            f"Two boundaries were given: the built-in '{request.boundary}', and a mask. Choose one of them."
        )
    inside = boundary_mask(request.boundary if boundary is None else boundary, volume)  # found once for all
    drawn_by = _mask_model(mask_model, request, models)
    masks: list[LesionMask] = []
    for lesion, seed in zip(request.lesions, request.seeds, strict=True):
        if cancel is not None and cancel():
            raise Cancelled(f"Stopped after {len(masks)} of {len(request.lesions)} shapes; nothing was written.")
        masks.append(
            draw_lesion_mask(
                volume,
                lesion.sphere,
                drawn_by,
                inside,
                seed,
                lesion.lesion_class or lesion_class,
                lesion.shape,
                lesion.ratings,
                progress=_numbered_progress(progress, len(masks) + 1, len(request.lesions)),
                cancel=cancel,
            )
        )
    return masks


def mask_model_name(asked: str | None, spec: "ModelSpec") -> str:
    """What draws the shapes: the model asked for, else the bundled one of the same classes, else the hand."""
    from ..models.zoo import mask_model_for

    return asked or mask_model_for(spec) or HANDCRAFTED


def _model(request: SynthesisRequest, models: "OpenModel | None") -> "Model":
    from ..models.zoo import default_model, load_model

    return (models or load_model)(request.model or default_model(), request.device, request.precision)


def _mask_model(name: str, request: SynthesisRequest, models: "OpenModel | None") -> "Model | str":
    """The hand needs no opening."""
    if name == HANDCRAFTED:
        return name
    from ..models.zoo import load_model
    from .diffmask import open_mask_model

    return open_mask_model(name, request.device, request.precision, models or load_model)


def _numbered_progress(progress: "Progress | None", number: int, count: int) -> "Progress | None":
    """Says which of several shapes is being drawn."""
    if progress is None or count == 1:
        return progress
    return lambda step, total, message: progress(step, total, f"{message} of lesion {number} of {count}")


def _plain_texture(texture: Any) -> Any:
    """The texture as JSON can hold it: a word, a number, 16 numbers with sum 1, or {class: one of these}."""
    if isinstance(texture, Mapping):
        return {str(name): _plain_texture(one) for name, one in texture.items()}
    if isinstance(texture, TextureHistogram):
        return texture.weights
    if isinstance(texture, Path):
        return str(texture.absolute())
    if isinstance(texture, int | np.integer) and not isinstance(texture, bool):
        return int(texture)
    if isinstance(texture, str):
        return texture
    if isinstance(texture, Sequence | np.ndarray):
        return TextureHistogram(tuple(texture)).weights
    raise LeFusionError(
        f"A texture is a preset's name or number, 16 numbers, a file, 'random', or one of these per class; "
        f"got {texture!r}."
    )


def _plain_classes(value: Any) -> str | tuple[str, ...] | None:
    """A class, or a tuple of several."""
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        names = class_names(value)
        return names if len(names) > 1 else names[0]
    return _name_or_none("lesion_class", value)


def _name_or_none(field_name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str | Path):
        return value if value is None else str(value)
    raise LeFusionError(f"`{field_name}` is a name or None; got {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _from_dict(cls: Any, kind: str, values: Mapping[str, Any]) -> Any:
    names = [f.name for f in fields(cls)]
    if not isinstance(values, Mapping):
        raise LeFusionError(f"A {kind} is one of {', '.join(names)}, as a dictionary; got {values!r}.")
    check_keys(kind, values, names)
    try:
        return cls(**values)
    except TypeError as error:
        raise LeFusionError(f"The request is incomplete: {error}.") from error
