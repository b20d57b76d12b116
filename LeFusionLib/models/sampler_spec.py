"""How tissue is sampled: method, steps, repeats, guidance."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import LeFusionError, check_keys, unknown_name

METHODS = ("ddpm", "ddim", "dpm++", "unipc")
QUALITIES = ("draft", "standard", "paper")  # whole settings by name; what they are is the model's matter


@dataclass(frozen=True)
class SamplerSpec:
    """Settings of the sampler; None takes what the model was found to do best with.

    method: "ddpm" (with 300 steps and jumps the paper's sampler), "ddim", "dpm++" or "unipc"; or "draft", "standard" or
    "paper", which stand for what the model has under that name. num_steps: 1 to the model's time steps. jump_length,
    jump_n_sample: how far to go back and how often to pass (Lugmayr et al. 2022), in steps of the grid.
    guidance_scale: how far to exaggerate the texture asked for; other than 1 it costs two evaluations a step.
    """

    method: str | None = None
    num_steps: int | None = None
    jump_length: int | None = None
    jump_n_sample: int | None = None
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS + QUALITIES:
            raise unknown_name("sampler", self.method, METHODS + QUALITIES)
        for name in ("num_steps", "jump_length", "jump_n_sample"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise LeFusionError(f"The sampler's {name} must be a whole number from 1; got {value!r}.")
        scale = 1.0 if self.guidance_scale is None else self.guidance_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale <= 20:
            raise LeFusionError(f"The guidance scale must be from 0 to 20; got {self.guidance_scale!r}.")

    def filled_from(self, default: "SamplerSpec") -> "SamplerSpec":
        """The same with every open setting taken from `default`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return SamplerSpec(**{k: getattr(default, k) if v is None else v for k, v in values.items()})

    @property
    def is_open(self) -> bool:
        """Does it leave anything to the model?"""
        return self.method in QUALITIES or None in self.to_dict().values()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, text: str) -> "SamplerSpec":
        """From METHOD, METHOD:STEPS or METHOD:STEPS:JUMP_LENGTH:JUMP_N_SAMPLE, such as "draft" or "ddpm:50:1:2"."""
        method, *numbers = text.split(":")
        if len(numbers) not in (0, 1, 3) or not all(number.isdigit() for number in numbers):
            raise LeFusionError(f"A sampler is written METHOD, METHOD:STEPS or METHOD:STEPS:JUMP:PASSES; got '{text}'.")
        return cls(method, *map(int, numbers))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SamplerSpec":
        """From JSON; an unknown key is refused and its neighbour named."""
        check_keys("sampler setting", values, [f.name for f in fields(cls)])
        return cls(**values)
