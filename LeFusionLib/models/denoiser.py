"""A network together with its specification: the callable that the sampler and the training are handed."""

import torch
from torch import Tensor, nn

from ..diffusion.gaussian import noise_from_velocity
from ..diffusion.schedule import cosine_schedule
from .spec import ModelSpec
from .unet3d import UNet3D


class Denoiser(nn.Module):
    """`(x_t, t, condition) -> noise`, building the network's input channels as the spec says."""

    alphas_cumprod: Tensor

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.net = UNet3D(**spec.network_options())
        alphas_cumprod = cosine_schedule(spec.timesteps).alphas_cumprod.float()
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        context: Tensor | None = None,
        focus_present_mask: Tensor | None = None,
        drop: Tensor | None = None,
        as_noise: bool = True,
        traits: Tensor | None = None,
    ) -> Tensor:
        """Predicted noise (B, L, D, H, W).

        `x_t` (B, L, D, H, W); `t` (B,); `condition`: the histograms (B, 16 L), or for a mask model the channels of the
        sphere and, where the spec says so, the organ (B, 1 or 2, D, H, W); `context`: `clean_context(...)` where the
        spec's context is "clean"; `drop` (B,) bool: rows that are shown the null condition instead, and `as_noise`
        False: what the network itself puts out, whatever the spec's `prediction` is (both for training);
        `traits` (B, traits_size): what a mask model is told of size, ratings and classes.
        """
        if self.spec.kind == "mask":
            assert condition is not None, "a mask model is always shown its sphere"
            channels, condition = torch.cat((x_t, condition.to(x_t.dtype)), dim=1), traits
        elif context is not None:
            channels = torch.cat((x_t * context[:, 1:], context), dim=1)
        else:
            channels = x_t
        if drop is not None and condition is not None and self.net.null_condition is not None:
            condition = torch.where(drop[:, None], self.net.null_condition, condition)
        output = self.net(channels, t, condition, focus_present_mask)
        if self.spec.prediction == "velocity" and as_noise:
            return noise_from_velocity(x_t, self.alphas_cumprod[t][:, None, None, None, None], output.float())
        return output


def clean_context(background: Tensor, lesion_mask: Tensor) -> Tensor:
    """The known background with the lesion cut out, and the masks (B, 1 + L, D, H, W).

    `background` (B, 1 or L, D, H, W), the same image in every channel; `lesion_mask` (B, L, D, H, W) in {0, 1}.
    """
    outside = 1 - lesion_mask.amax(dim=1, keepdim=True)
    return torch.cat((background[:, :1] * outside, lesion_mask), dim=1)
