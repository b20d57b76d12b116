"""How a model is distilled to few steps: one row per preset. Needs no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import LeFusionError, unknown_name


@dataclass(frozen=True)
class DistillSettings:
    """teacher: a bundled name or a model folder; one that makes tissue must be shown the background clean. stages:
    steps of the students' grids, each half of the one before; the first teacher has twice the first. steps: of training
    in each stage. null_share: how often what steers the teacher (its texture; each rating) is left out."""

    teacher: str
    stages: tuple[int, ...] = (4, 2, 1)
    null_share: float = 0.0
    steps: int = 5000
    batch_size: int = 16
    learning_rate: float = 2e-4
    ema_decay: float = 0.995
    save_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        halves = all(a == 2 * b for a, b in zip(self.stages, self.stages[1:], strict=False))
        if not self.stages or not halves or min(self.stages) < 1:
            raise LeFusionError(
                f"Each stage of a distillation has half the steps of the one before; got {self.stages}."
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


DISTILLATIONS: Mapping[str, DistillSettings] = {
    "lung-nodule-live": DistillSettings("lung-nodule"),
    "lung-nodule-mask-live": DistillSettings("lung-nodule-mask", stages=(8, 4, 2), null_share=0.5),
}


def distillation(name: str, **changes: Any) -> DistillSettings:
    """The row `name` of `DISTILLATIONS`, with single settings changed."""
    if name not in DISTILLATIONS:
        raise unknown_name("distillation", name, DISTILLATIONS)
    return replace(DISTILLATIONS[name], **{key: value for key, value in changes.items() if value is not None})
