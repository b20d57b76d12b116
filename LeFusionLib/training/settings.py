"""How a model is trained: one row per preset, every field read by the training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import LeFusionError, unknown_name
from ..models.mask_spec import MaskSpec
from ..models.sampler_spec import SamplerSpec
from ..models.spec import ModelSpec
from .hearts import TEST_PATIENTS

CT_WINDOW = {"kind": "fixed", "low": -1000.0, "high": 400.0, "unit": "HU"}
# As published, the whole range: a heart fills less than half of it. The percentiles of a whole volume are its air's.
MR_RANGE = {"kind": "range"}
MR_PERCENTILES = {"kind": "percentile", "low": 0.5, "high": 99.5}
MR_MIDDLE = {"kind": "middle", "low": 1.0, "high": 99.0}


@dataclass(frozen=True)
class TrainSettings:
    """`batch_size` counts patches of the smallest shape; larger shapes get as many as cost the same.

    warmup_steps, then the learning rate stays ("constant") or falls to a twentieth along a cosine until `steps`.
    null_share: how often the condition is replaced by the learned null condition. ema_decay: of the averaged weights.
    held_out: patients that are never trained on; where none of them is in the data, a validation_share is drawn.
    textures: {class: {preset: how often "random" takes it}}, darkest first; the presets are found by clustering.
    sampler, licence, description: what the trained model's card will say.
    """

    spec: ModelSpec
    steps: int
    batch_size: int
    learning_rate: float
    lr_schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    distance: str = "l1"
    reduction: str = "published"
    null_share: float = 0.1
    ema_decay: float = 0.995
    grad_clip: float = 1.0
    validation_share: float = 0.15
    held_out: tuple[str, ...] = ()
    validate_every: int = 500
    save_every: int = 100
    seed: int = 0
    textures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sampler: SamplerSpec = SamplerSpec("ddpm", 300, jump_length=2, jump_n_sample=2, guidance_scale=1.0)
    licence: str = "not stated"
    description: str = ""

    def __post_init__(self) -> None:
        if self.lr_schedule not in ("constant", "cosine"):
            raise unknown_name("learning-rate schedule", self.lr_schedule, ("constant", "cosine"))
        for name in ("steps", "batch_size", "learning_rate", "validate_every", "save_every"):
            if getattr(self, name) <= 0:
                raise LeFusionError(f"Training needs {name} above 0; got {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def preset(name: str, **changes: Any) -> TrainSettings:
    """The row `name` of `PRESETS`, with single settings changed."""
    if name not in PRESETS:
        raise unknown_name("training preset", name, PRESETS)
    return replace(PRESETS[name], **{key: value for key, value in changes.items() if value is not None})


# LeFusion, Appendix F: the random draw takes the three groups 75:20:5.
NODULES = {"nodule": {"ground-glass": 0.05, "part-solid": 0.20, "solid": 0.75}}
TYPICAL = {"infarct": {"typical": 1.0}, "no_reflow": {"typical": 1.0}}  # one group each, as published
HEART_LICENCE = "CC BY-NC-SA 4.0: non-commercial research only (trained on EMIDEC, CC BY-NC-SA 4.0)"
MASK_LICENCE = "CC BY 3.0 (trained on LIDC-IDRI, CC BY 3.0)"
NODULE_LICENCE = "CC BY 4.0 (trained on LUNA16, CC BY 4.0, from LIDC-IDRI, CC BY 3.0)"

_LUNG = ModelSpec(
    name="lung-nodule",
    classes=("nodule",),
    patch_shapes=((16, 24, 24), (24, 32, 32), (32, 48, 48)),
    spacing_mm=(1.0, 1.0, 1.0),
    intensity=CT_WINDOW,
    dim=24,
    dim_mults=(1, 2, 4),
    heads=2,
    head_dim=32,
    condition_scale=16.0,
    context="clean",
    prediction="velocity",
    modality="CT",
    mask_model="lung-nodule-mask",
)
_PAPER = replace(
    _LUNG,
    name="lung-nodule-paper",
    patch_shapes=((32, 64, 64),),
    dim=64,
    dim_mults=(1, 2, 4, 8),
    heads=8,
    condition_way="cross_attention",
    condition_scale=1.0,
    context="noised",
    prediction="noise",
)

_MASK = ModelSpec(
    name="lung-nodule-mask",
    classes=("nodule",),
    kind="mask",
    patch_shapes=((20, 20, 20),),
    spacing_mm=None,
    intensity={},
    dim=24,
    dim_mults=(1, 2, 4),
    heads=2,
    head_dim=16,
    prediction="velocity",
    deep=True,
    mask=MaskSpec(
        sphere_voxels=17.0,
        ratings=("sphericity", "lobulation", "spiculation"),
        diameter_range_mm=(3.0, 32.0),
        levels=(0.75,),  # nearest to real training shapes; at 0 shapes were too full and too round
    ),
)
_PAPER_MASK = replace(
    _MASK,
    name="lung-nodule-mask-paper",
    patch_shapes=((32, 64, 64),),
    spacing_mm=(1.0, 1.0, 1.0),
    dim=64,
    dim_mults=(1, 2, 4, 8),
    heads=8,
    head_dim=32,
    prediction="noise",
    deep=False,
    mask=MaskSpec(),
)

# Short-axis stacks in late-enhancement MRI: few thick slices, kept as they are; a left ventricle is 50 pixels wide.
_HEART = ModelSpec(
    name="cardiac-mi-pmo",
    classes=("infarct", "no_reflow"),
    patch_shapes=((6, 40, 40), (9, 48, 48), (12, 64, 64)),
    spacing_mm=None,
    intensity=MR_MIDDLE,
    dim=16,
    dim_mults=(1, 2, 4),
    heads=2,
    head_dim=16,
    condition_scale=16.0,
    context="clean",
    prediction="velocity",
    modality="MR",
    mask_model="cardiac-mi-pmo-mask",
)
_PAPER_HEART = replace(
    _HEART,
    name="cardiac-mi-pmo-paper",
    intensity=MR_RANGE,
    patch_shapes=((10, 72, 72),),
    margin_mm=0.0,  # a lesion of ten slices is not left out
    dim=72,
    dim_mults=(1, 2, 4, 8),
    heads=8,
    head_dim=32,
    condition_way="cross_attention",
    condition_scale=1.0,
    context="noised",
    prediction="noise",
)

_SMALL = TrainSettings(
    _LUNG,
    steps=1900,
    batch_size=4,
    learning_rate=5e-4,
    lr_schedule="cosine",
    warmup_steps=60,
    weight_decay=1e-4,
    reduction="per_lesion",
    validate_every=650,
    textures=NODULES,
    sampler=SamplerSpec("ddim", 20, jump_length=1, jump_n_sample=1, guidance_scale=1.0),
    licence=NODULE_LICENCE,
    description="Lung nodules in CT, for a laptop without a GPU",
)

_SMALL_HEART = replace(
    _SMALL,
    spec=_HEART,
    steps=2700,
    learning_rate=1e-3,
    validate_every=500,
    held_out=TEST_PATIENTS,
    textures=TYPICAL,
    sampler=SamplerSpec("ddim", 5, jump_length=1, jump_n_sample=1, guidance_scale=1.0),
    licence=HEART_LICENCE,
    description="Infarct and no-reflow together in late-enhancement MRI, for a laptop without a GPU",
)


# The paper: 300 steps of noise, learning rate 1e-4, batch 16, about 30,000 steps, L1 (Appendix F).
_PAPER_HEARTS = TrainSettings(
    _PAPER_HEART,
    steps=30_000,
    batch_size=16,
    learning_rate=1e-4,
    save_every=1000,
    validate_every=5000,
    held_out=TEST_PATIENTS,
    textures=TYPICAL,
    licence=HEART_LICENCE,
    description="Infarct and no-reflow together in late-enhancement MRI, as the paper has it",
)

# Shapes on the volume's own grid, with the muscle shown: channel 0 the whole lesion, channel 1 the no-reflow within it.
_HEART_MASK = replace(
    _MASK,
    name="cardiac-mi-pmo-mask",
    classes=("infarct", "no_reflow"),
    patch_shapes=((10, 56, 56),),  # holds all but 4 of the 57 lesions at hand; a larger one costs their learning
    dim=16,
    mask=MaskSpec(
        boundary_channel=True,
        smoothing_voxels=1.0,
        levels=(0.0, -0.75),  # as much no-reflow as real training hearts have; at 0 nearly none was drawn
        organ="the muscle of the left ventricle",
        nested=True,
        optional=("no_reflow",),
        diameter_range_mm=(20.0, 110.0),
        pieces=(4, 4),
    ),
)


def _variant(row: TrainSettings, name: str, description: str, *classes: str) -> TrainSettings:
    """The row without histograms: of all its classes (LeFusion-J), or of some of them (LeFusion-S)."""
    spec = replace(row.spec, name=name, classes=classes or row.spec.classes, condition_way="none")
    return replace(row, spec=spec, textures={}, description=description)


PRESETS = {
    # The bundled model: small enough for two cores; what it gave stands in docs/experiments.
    "lung-nodule": _SMALL,
    # The paper's way of showing the background at the same size, for comparison.
    "lung-nodule-noised": replace(
        _SMALL,
        spec=replace(_LUNG, name="lung-nodule-noised", context="noised"),
        sampler=SamplerSpec("ddpm", 65, jump_length=1, jump_n_sample=2, guidance_scale=1.0),
        description="Lung nodules in CT, the background shown as in the paper",
    ),
    # Shapes for it: in the frame of their sphere, so that small and large lesions share what is learned.
    "lung-nodule-mask": TrainSettings(
        _MASK,
        steps=1600,
        batch_size=8,
        learning_rate=1e-3,
        lr_schedule="cosine",
        warmup_steps=100,
        weight_decay=1e-4,
        distance="l2",
        null_share=0.3,
        validate_every=400,
        save_every=50,
        sampler=SamplerSpec("ddim", 20, jump_length=1, jump_n_sample=1, guidance_scale=1.0),
        licence=MASK_LICENCE,
        description="Shapes of lung nodules from a control sphere, for a laptop without a GPU",
    ),
    # The paper: 300 steps of noise, learning rate 1e-4, batch 16, about 40,000 steps, L1 (Appendix F).
    "lung-nodule-paper": TrainSettings(
        _PAPER,
        steps=40_000,
        batch_size=16,
        learning_rate=1e-4,
        save_every=1000,
        validate_every=5000,
        textures=NODULES,
        licence=NODULE_LICENCE,
        description="Lung nodules in CT, as the paper has it",
    ),
    # The paper's DiffMask: binary masks and spheres at 1 mm. Published runs: 80,000 steps of 20, learning rate 3e-4.
    "lung-nodule-mask-paper": TrainSettings(
        _PAPER_MASK,
        steps=80_000,
        batch_size=20,
        learning_rate=3e-4,
        null_share=0.0,
        save_every=1000,
        validate_every=5000,
        licence=MASK_LICENCE,
        description="Shapes of lung nodules, as the paper has it",
    ),
    # Hearts, the paper's variants (Sec. 4.3): joint with histograms (-J-H), joint (-J), one model per class (-S).
    "cardiac-mi-pmo": _SMALL_HEART,
    "cardiac-mi-pmo-range": replace(
        _SMALL_HEART,
        spec=replace(_HEART, name="cardiac-mi-pmo-range", intensity=MR_RANGE),
        description="Infarct and no-reflow together in late-enhancement MRI, grey values as published",
    ),
    "cardiac-mi-pmo-percentile": replace(
        _SMALL_HEART,
        spec=replace(_HEART, name="cardiac-mi-pmo-percentile", intensity=MR_PERCENTILES),
        description="Infarct and no-reflow together in late-enhancement MRI, grey values between percentiles",
    ),
    "cardiac-mi-pmo-j": _variant(
        _SMALL_HEART, "cardiac-mi-pmo-j", "Infarct and no-reflow together, without histograms"
    ),
    "cardiac-mi": _variant(_SMALL_HEART, "cardiac-mi", "Infarct alone, without histograms", "infarct"),
    "cardiac-pmo": _variant(_SMALL_HEART, "cardiac-pmo", "No-reflow alone, without histograms", "no_reflow"),
    # Shapes for it: infarct and no-reflow in one drawing, inside the muscle of the left ventricle.
    "cardiac-mi-pmo-mask": TrainSettings(
        _HEART_MASK,
        steps=2500,
        batch_size=2,
        learning_rate=1e-3,
        lr_schedule="cosine",
        warmup_steps=100,
        weight_decay=1e-4,
        distance="l2",
        reduction="per_lesion",
        null_share=0.3,
        validate_every=500,
        save_every=50,
        held_out=TEST_PATIENTS,
        sampler=SamplerSpec("ddim", 5, jump_length=1, jump_n_sample=1, guidance_scale=1.0),
        licence=HEART_LICENCE,
        description="Infarct and no-reflow inside the myocardium from a control sphere, for a laptop without a GPU",
    ),
    "cardiac-mi-pmo-paper": _PAPER_HEARTS,
    "cardiac-mi-pmo-j-paper": _variant(
        _PAPER_HEARTS,
        "cardiac-mi-pmo-j-paper",
        "Infarct and no-reflow together, without histograms, as the paper has it",
    ),
    "cardiac-mi-paper": _variant(
        _PAPER_HEARTS, "cardiac-mi-paper", "Infarct alone, without histograms, as the paper has it", "infarct"
    ),
    "cardiac-pmo-paper": _variant(
        _PAPER_HEARTS, "cardiac-pmo-paper", "No-reflow alone, without histograms, as the paper has it", "no_reflow"
    ),
}
