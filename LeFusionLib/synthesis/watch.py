"""Telling of every network evaluation, and asking before each whether to go on."""

from collections.abc import Callable

import torch

from ..diffusion.inpaint import Denoiser
from ..errors import Cancelled

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool]


class Watch:
    """Counts the evaluations of a job; `total` may grow while it runs."""

    def __init__(self, total: int, message: str, progress: Progress | None = None, cancel: Cancel | None = None):
        self.done, self.total, self.message, self.progress, self.cancel = 0, total, message, progress, cancel

    def over(self, network: Denoiser) -> Denoiser:
        """The network, watched. Raises `Cancelled` before the evaluation that is no longer wanted."""

        def evaluate(x_t: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
            if self.cancel is not None and self.cancel():
                raise Cancelled(f"Stopped after {self.done} of {self.total} evaluations; nothing was written.")
            noise = network(x_t, t, condition)
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.total, self.message)
            return noise

        return evaluate
