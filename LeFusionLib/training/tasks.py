"""What the kinds of model differ in when they are trained: one row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..texture import TexturePresets
from .batches import BatchMaker
from .cases import read_cases
from .shape_batches import ShapeBatchMaker
from .shape_cases import read_shapes
from .shape_validation import ShapeValidation
from .texture_groups import class_presets
from .validation import Validation


@dataclass(frozen=True)
class Task:
    """read(folder, spec) -> cases with a `patient`; maker(cases, spec, batch_size, null_share, seed), whose draw(step)
    is a batch; validation(cases, settings, run), whose measure(denoiser, schedule, step) is {name: value};
    textures(cases, settings): the presets of the trained model."""

    read: Callable[..., Sequence[Any]]
    maker: Callable[..., Any]
    validation: Callable[..., Any]
    textures: Callable[..., dict[str, TexturePresets]]


TASKS = {
    "texture": Task(read_cases, BatchMaker, Validation, class_presets),
    "mask": Task(read_shapes, ShapeBatchMaker, ShapeValidation, lambda *_: {}),
}
