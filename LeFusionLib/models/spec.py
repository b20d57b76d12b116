"""What a model is: its classes, its patch, its network. One frozen row; each number stands here once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import LeFusionError, unknown_name
from ..modality import MODALITIES
from ..texture import BINS
from .mask_spec import MaskSpec

KINDS = ("texture", "mask")
CONTEXTS = ("noised", "clean")
PREDICTIONS = ("noise", "velocity")
AXES = ("kji", "kij")
CONDITION_WAYS = ("none", "concat", "cross_attention")


@dataclass(frozen=True)
class ModelSpec:
    """Everything that must be known to build, feed and sample a network.

    kind: "texture" makes tissue, "mask" draws lesion shapes from a control sphere.
    classes: lesion classes; each has its own channel.
    patch_shapes: the patches (D, H, W) the network is used on, smallest first; a lesion gets the first that holds it
    with `margin_mm` around. spacing_mm (D, H, W): the patch's voxels; None keeps the volume's own grid.
    axes: which of the grid's directions the patch's D, H and W are: "kji" as they are stored; "kij" for weights that
    were trained on slices with rows and columns exchanged. The lesion's patch is laid that way, its network is not.
    intensity: the rule for the grey values' window, see `intensity.window_for`.
    context: how the background is shown: "noised" to level t as in the paper (Eqs. 2, 3), or "clean": as it is, with
    the mask, in channels beside the lesion.
    prediction: what the network itself puts out: the "noise" as in the paper, or the "velocity", which shows it the
    lesion's grey level also where there is almost only noise. A denoiser answers with the noise either way.
    condition_way, condition_scale: how the condition vector enters, see `UNet3D`: the histograms, or for a mask model
    the sphere's size and the ratings of the shape.
    deep: convolutions reach into the neighbouring slices, see `UNet3D`.
    modality: the scans it was made for, "CT" or "MR", see `modality.check_modality`; None goes with all.
    mask_model: the bundled model that draws the shapes for its tissue, where none is asked for.
    mask: what only a mask model has; None for one that makes tissue.
    """

    name: str
    classes: tuple[str, ...]
    patch_shapes: tuple[tuple[int, int, int], ...]
    spacing_mm: tuple[float, float, float] | None
    intensity: Mapping[str, Any]
    dim: int
    kind: str = "texture"
    dim_mults: tuple[int, ...] = (1, 2, 4, 8)
    heads: int = 8
    head_dim: int = 32
    condition_way: str = "concat"
    condition_scale: float = 1.0
    context: str = "noised"
    prediction: str = "noise"
    timesteps: int = 300
    margin_mm: float = 2.0
    axes: str = "kji"
    deep: bool = False
    modality: str | None = None
    mask_model: str | None = None
    mask: MaskSpec | None = None

    def __post_init__(self) -> None:
        for field in ("classes", "dim_mults", "spacing_mm"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, tuple(getattr(self, field)))
        object.__setattr__(self, "patch_shapes", tuple(tuple(shape) for shape in self.patch_shapes))
        for kind, given, options in (
            ("model kind", self.kind, KINDS),
            ("context", self.context, CONTEXTS),
            ("prediction", self.prediction, PREDICTIONS),
            ("condition way", self.condition_way, CONDITION_WAYS),
            ("order of axes", self.axes, AXES),
        ):
            if given not in options:
                raise unknown_name(kind, given, options)
        if self.modality is not None and self.modality not in MODALITIES:
            raise unknown_name("modality", self.modality, MODALITIES)
        if (self.kind == "mask") != (self.mask is not None):
            raise LeFusionError(f"Models of kind 'mask', and only these, have a `mask`; not so '{self.name}'.")
        for name in self.mask.optional if self.mask is not None else ():
            if name not in self.classes:
                raise unknown_name(f"optional class of model '{self.name}'", name, self.classes)
        if not self.classes or not self.patch_shapes:
            raise LeFusionError(f"Model '{self.name}' needs at least one class and one patch shape.")
        if self.dim % 8 or self.dim < 8:
            raise LeFusionError(
                f"The width `dim` must be a multiple of 8 (group norm); model '{self.name}' has {self.dim}."
            )
        step = 2 ** (len(self.dim_mults) - 1)
        for shape in self.patch_shapes:
            if len(shape) != 3 or shape[1] % step or shape[2] % step:
                raise LeFusionError(
                    f"Patches are (D, H, W) with H and W multiples of {step}; model '{self.name}' has {shape}."
                )

    @property
    def condition_size(self) -> int:
        """Length of the condition vector: 16 numbers per class, or of a mask model size and ratings; or 0."""
        if self.mask is not None:
            return self.mask.traits_size
        return 0 if self.condition_way == "none" else BINS * len(self.classes)

    @property
    def in_channels(self) -> int:
        """Lesion channels, and beside them: the sphere, with the organ where that is shown; or the clean background
        and the masks."""
        classes = len(self.classes)
        if self.kind == "mask":
            return classes + 1 + (self.mask is not None and self.mask.boundary_channel)
        return 2 * classes + 1 if self.context == "clean" else classes

    def check_diameter(self, diameter_mm: float, volume_spacing_mm: tuple[float, float, float]) -> None:
        """Refuse a control sphere that the largest patch cannot hold; says how large it may be."""
        if self.mask is not None and self.mask.diameter_range_mm is not None:
            low, high = self.mask.diameter_range_mm
            if not low <= diameter_mm <= high:
                raise LeFusionError(
                    f"Model '{self.name}' draws lesions of {low:g} to {high:g} mm; got {diameter_mm:g} mm. "
                    "Change the diameter, or draw with --mask-model handcrafted."
                )
        if self.mask is not None and (self.mask.sphere_voxels is not None or self.mask.boundary_channel):
            return  # the patch grows with the sphere, or the lesion ends with its organ
        if self.kind == "texture" and self.spacing_mm is None:
            return  # drawn in its organ, a lesion is smaller than its sphere: it is asked when its patch is chosen
        spacing = self.spacing_mm or volume_spacing_mm
        largest = min((n - 1) * mm for n, mm in zip(self.patch_shapes[-1], spacing, strict=True))
        if diameter_mm > largest:
            raise LeFusionError(
                f"A sphere of {diameter_mm:g} mm is larger than the patch of model '{self.name}'. "
                f"The largest possible diameter is {largest:g} mm."
            )

    def network_options(self) -> dict[str, Any]:
        """Arguments of `UNet3D`."""
        return {
            "in_channels": self.in_channels,
            "out_channels": len(self.classes),
            "dim": self.dim,
            "dim_mults": self.dim_mults,
            "heads": self.heads,
            "head_dim": self.head_dim,
            "condition_size": self.condition_size,
            "condition_way": self.condition_way,
            "condition_scale": self.condition_scale,
            "deep": self.deep,
        }

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelSpec":
        """From JSON; an unknown key is refused and its neighbour named."""
        names = [field.name for field in fields(cls)]
        for key in values:
            if key not in names:
                raise unknown_name("model setting", key, names)
        mask = values.get("mask")
        try:
            return cls(**{**values, "mask": mask if mask is None else MaskSpec.from_dict(mask)})
        except TypeError as error:
            raise LeFusionError(f"The model's description is incomplete: {error}.") from error
