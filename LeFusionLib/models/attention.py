"""Attention along depth, within a slice, and towards the condition.

Feature maps are (B, F, H, W, C) with C contiguous: slices are then channels-last images for the convolutions, and
projections are plain matrix products over the last axis.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COLUMNS = 2**15  # attended to at once along depth: fused kernels of GPUs count them in 16 bits


class ChannelNorm(nn.Module):
    """Layer norm over channels with a gain and no bias."""

    def __init__(self, channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.gain.shape, self.gain)


class DepthBias(nn.Module):
    """Relative position bias along depth, in logarithmic buckets, one for all layers (Raffel et al. 2020, Sec. 2.1)."""

    buckets, max_distance = 32, 32

    def __init__(self, heads: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(self.buckets, heads) * 0.02)

    def forward(self, slices: int) -> Tensor:
        """(heads, F, F): added to the attention of slice i (row) towards slice j (column)."""
        index = torch.arange(slices, device=self.weight.device)
        return self.weight[self.bucket(index[None, :] - index[:, None])].permute(2, 0, 1)

    @classmethod
    def bucket(cls, offset: Tensor) -> Tensor:
        """Half the buckets for slices behind, half for those ahead; near ones exact, far ones logarithmic."""
        half = cls.buckets // 2
        exact = half // 2
        distance = offset.abs()
        far = exact + (
            torch.log(distance.clamp(min=1).float() / exact) / math.log(cls.max_distance / exact) * (half - exact)
        ).long().clamp(max=half - exact - 1)
        return torch.where(distance < exact, distance, far) + half * (offset > 0)


def rotation_table(slices: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (F, head_dim / 2) of the rotary embedding (Su et al. 2021, Eq. 15), theta 10000."""
    frequency = 10000.0 ** (-torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
    angle = torch.arange(slices, device=device, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (first half, second half) of the last axis of (..., F, heads, head_dim) by their slice's angle."""
    cos, sin = (part.to(x.dtype)[:, None] for part in table)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class SelfAttention(nn.Module):
    """What the three kinds share: a norm, and the projections to heads and back."""

    def __init__(self, channels: int, heads: int, head_dim: int, out_bias: bool = False):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm = ChannelNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, channels, bias=out_bias)


class DepthAttention(SelfAttention):
    """Each pixel position attends along depth: the only way slices talk to each other."""

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """`x` (B, F, H, W, C); `bias` (1 or B, heads, F, F). Returns x plus what was attended to."""
        b, f, h, w, c = x.shape
        columns = self.norm(x).view(b, f, h * w, c).transpose(1, 2)
        q, k, v = self.to_qkv(columns).view(b * h * w, f, 3, self.heads, self.head_dim).unbind(dim=2)
        table = rotation_table(f, self.head_dim, x.device)
        q, k, v = (part.transpose(1, 2) for part in (rotate(q, table), rotate(k, table), v))
        bias = bias.to(q.dtype)[:, None].expand(b, h * w, -1, -1, -1).flatten(0, 1)
        groups = zip(*(part.split(COLUMNS) for part in (q, k, v, bias)), strict=True)
        out = torch.cat([F.scaled_dot_product_attention(*group) for group in groups])
        out = self.to_out(out.transpose(1, 2).flatten(-2)).view(b, h * w, f, c)
        return x + out.transpose(1, 2).reshape(x.shape)


class SliceAttention(SelfAttention):
    """Full attention among the pixels of a slice, without positions."""

    def forward(self, x: Tensor) -> Tensor:
        b, f, h, w, _ = x.shape
        qkv = self.to_qkv(self.norm(x)).view(b * f, h * w, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return x + self.to_out(self.attend(q, k, v).transpose(1, 2).reshape(b, f, h, w, -1))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Each of `q`, `k`, `v`, and what comes out: (B F, heads, HW, head_dim)."""
        return F.scaled_dot_product_attention(q, k, v)


class LinearSliceAttention(SliceAttention):
    """Attention within a slice at linear cost: keys are softmaxed over pixels, queries over the head dimension
    (Shen et al. 2021, Eq. 4)."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__(channels, heads, head_dim, out_bias=True)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        summary = k.softmax(dim=-2).transpose(-1, -2) @ v
        return (q.softmax(dim=-1) * self.head_dim**-0.5) @ summary


class ConditionAttention(nn.Module):
    """Every voxel attends to the bins of the texture histogram (LeFusion, Sec. 3.2; Rombach et al. 2022, Sec. 3.3)."""

    def __init__(self, channels: int, condition_size: int, heads: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        inner = heads * head_dim
        self.norm = ChannelNorm(channels)
        self.bins = nn.Parameter(torch.randn(condition_size, inner) * 0.02)
        self.weighed = nn.Parameter(torch.randn(condition_size, inner))
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_kv = nn.Linear(inner, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """`condition` (B, condition_size): each bin becomes one token, its embedding scaled by its weight."""
        b = x.shape[0]
        tokens = self.bins + condition[..., None] * self.weighed
        q = self.to_q(self.norm(x)).view(b, -1, self.heads, self.head_dim).transpose(1, 2)
        k, v = self.to_kv(tokens).view(b, -1, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.to_out(out.transpose(1, 2).reshape(*x.shape[:-1], -1))
