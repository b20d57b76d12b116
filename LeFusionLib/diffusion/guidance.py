"""Classifier-free guidance (Ho & Salimans 2022, Eq. 6)."""

from torch import Tensor

from .inpaint import Denoiser


def with_guidance(denoiser: Denoiser, null_condition: Tensor, scale: float) -> Denoiser:
    """A denoiser that exaggerates what the condition changes: null + scale * (conditional - null).

    `null_condition` (1, N) is the learned "no condition". Scale 1 is the denoiser itself, at one evaluation; any other
    scale costs two.
    """
    if scale == 1.0:
        return denoiser

    def guided(x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        null = denoiser(x_t, t, null_condition.expand(x_t.shape[0], -1))
        return null + scale * (denoiser(x_t, t, condition) - null)

    return guided
