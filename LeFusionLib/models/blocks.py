"""Convolutions within slices, residual blocks and the time embedding."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SliceConv(nn.Conv2d):
    """A 2D convolution of every slice of (B, F, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return as_volume(super().forward(as_slices(x)), x.shape[0])


class SliceUpsample(nn.ConvTranspose2d):
    """Doubles H and W of every slice."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return as_volume(super().forward(as_slices(x)), x.shape[0])


def as_slices(x: Tensor) -> Tensor:
    """(B, F, H, W, C) seen as channels-last images (B F, C, H, W)."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def as_volume(slices: Tensor, batch: int) -> Tensor:
    """Back from `as_slices`."""
    return slices.permute(0, 2, 3, 1).unflatten(0, (batch, -1)).contiguous()


class DepthConv(nn.Module):
    """Each channel of (B, F, H, W, C) mixed with itself in the slices above and below; air beyond the ends.

    With the in-plane convolution that follows it is a convolution in three dimensions, taken apart (Qiu et al. 2017,
    P3D-A). It starts as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, channels))

    def forward(self, x: Tensor) -> Tensor:
        below, here, above = self.weight
        mixed = x * here
        mixed[:, 1:] += x[:, :-1] * below
        mixed[:, :-1] += x[:, 1:] * above
        return mixed


class NormedConv(nn.Module):
    """3x3 convolution, group norm over slices and pixels, scale and shift, SiLU; `deep`: mixed along depth before."""

    groups = 8

    def __init__(self, channels_in: int, channels_out: int, deep: bool = False):
        super().__init__()
        self.depth = DepthConv(channels_in) if deep else nn.Identity()
        self.conv = SliceConv(channels_in, channels_out, 3, padding=1)
        self.norm = nn.GroupNorm(self.groups, channels_out)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.conv(self.depth(x))
        b, f, h, w, c = x.shape
        # Depth is folded into height, so that the native channels-last kernel sees one image per volume.
        x = self.norm(x.view(b, f * h, w, c).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).view(b, f, h, w, c)
        if scale_shift is not None:
            scale, shift = scale_shift
            x = torch.addcmul(shift, x, scale + 1)
        return F.silu(x)


class ResidualBlock(nn.Module):
    """Two normed convolutions and a short cut; time (and condition) scale and shift the first."""

    def __init__(self, channels_in: int, channels_out: int, embedding_size: int | None, deep: bool = False):
        super().__init__()
        self.modulation = nn.Linear(embedding_size, 2 * channels_out) if embedding_size else None
        self.first = NormedConv(channels_in, channels_out, deep)
        self.second = NormedConv(channels_out, channels_out, deep)
        self.shortcut = nn.Linear(channels_in, channels_out) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        scale_shift = None
        if self.modulation is not None:
            assert embedding is not None, "a block with modulation is always shown time"
            scale_shift = self.modulation(F.silu(embedding))[:, None, None, None, :].chunk(2, dim=-1)
        return self.second(self.first(x, scale_shift)) + self.shortcut(x)


class TimeEmbedding(nn.Module):
    """Sinusoids of the diffusion time and two linear layers (Ho et al. 2020, Appendix B)."""

    def __init__(self, dim: int):
        super().__init__()
        self.first = nn.Linear(dim, 4 * dim)
        self.second = nn.Linear(4 * dim, 4 * dim)

    def forward(self, t: Tensor) -> Tensor:
        """`t` (B,) -> (B, 4 dim)."""
        half = self.first.in_features // 2
        frequency = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000.0) / (half - 1)))
        angle = t[:, None].float() * frequency
        return self.second(
            F.gelu(self.first(torch.cat((angle.sin(), angle.cos()), dim=-1).to(self.first.weight.dtype)))
        )
