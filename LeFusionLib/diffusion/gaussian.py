"""The forward process and what one prediction says about the clean image.

`x_start, x_t, noise` are (B, C, D, H, W); `alpha_bar` are numbers or tensors that broadcast, in (0, 1].
"""

from torch import Tensor


def q_sample(x_start: Tensor, alpha_bar: Tensor | float, noise: Tensor) -> Tensor:
    """Noise a clean patch to the level `alpha_bar` (Ho et al. 2020, Eq. 4; LeFusion, Eq. 2)."""
    return alpha_bar**0.5 * x_start + (1 - alpha_bar) ** 0.5 * noise


def predict_x_start(x_t: Tensor, alpha_bar: float, noise: Tensor) -> Tensor:
    """The clean patch that `x_t` and the predicted noise stand for, kept in [-1, 1] (Ho et al. 2020, Eq. 15)."""
    return ((1 / alpha_bar) ** 0.5 * x_t - (1 / alpha_bar - 1) ** 0.5 * noise).clamp(-1, 1)


def renoise(x_t: Tensor, alpha_bar_from: float, alpha_bar_to: float, noise: Tensor) -> Tensor:
    """Walk the forward process from one level to a noisier one (Ho et al. 2020, Eq. 2; Lugmayr et al., Sec. 4.2)."""
    return q_sample(x_t, alpha_bar_to / alpha_bar_from, noise)


def velocity(x_start: Tensor, alpha_bar: Tensor | float, noise: Tensor) -> Tensor:
    """What x_t moves along: sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x_start (Salimans & Ho 2022, Appendix D)."""
    return alpha_bar**0.5 * noise - (1 - alpha_bar) ** 0.5 * x_start


def noise_from_velocity(x_t: Tensor, alpha_bar: Tensor | float, v: Tensor) -> Tensor:
    """The noise that the velocity `v` at `x_t` stands for (Salimans & Ho 2022, Appendix D)."""
    return alpha_bar**0.5 * v + (1 - alpha_bar) ** 0.5 * x_t
