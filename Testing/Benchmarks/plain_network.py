"""The baseline of the benchmarks: the published network as one writes it down from the paper, nothing made faster.

Tensors are (B, C, F, H, W); convolutions in a slice are 3D convolutions with kernels (1, k, k); norms, scale and shift
and activations are steps of their own; what the attention along depth knows of positions is made anew at every call. It
takes its weights from a `UNet3D` and is the same function.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from LeFusionLib.models.attention import DepthAttention, SliceAttention, rotation_table
from LeFusionLib.models.blocks import NormedConv, ResidualBlock, SliceConv
from LeFusionLib.models.unet3d import Level, UNet3D


class PlainUNet3D(nn.Module):
    """The function of `net` (condition by concatenation, not `deep`)."""

    def __init__(self, net: UNet3D):
        super().__init__()
        self.net = net
        self.stem = conv(net.stem)
        self.stem_attention = DepthWay(net.stem_attention)
        self.down = nn.ModuleList(PlainLevel(level) for level in net.down)
        self.middle1, self.middle2 = Residual(net.middle.block1), Residual(net.middle.block2)
        self.middle_slices = SliceWay(net.middle.slice_attention)
        self.middle_depth = DepthWay(net.middle.depth_attention)
        self.up = nn.ModuleList(PlainLevel(level) for level in net.up)
        self.last = Residual(net.last_block)
        self.head = pointwise(net.head)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        embedding, _ = self.net.embedding(t, condition, len(x))
        stem = self.stem(x)
        x = self.stem_attention(stem, self.net.depth_bias(stem.shape[2]))
        skips = []
        for level in self.down:
            x = level(x, embedding, self.net.depth_bias(x.shape[2]))
            skips.append(x)
            x = level.resample(x)
        x = self.middle_slices(self.middle1(x, embedding))
        x = self.middle2(self.middle_depth(x, self.net.depth_bias(x.shape[2])), embedding)
        for level in self.up:
            x = level(torch.cat((x, skips.pop()), dim=1), embedding, self.net.depth_bias(x.shape[2]))
            x = level.resample(x)
        return self.head(self.last(torch.cat((x, stem), dim=1), embedding))


class PlainLevel(nn.Module):
    def __init__(self, level: Level):
        super().__init__()
        self.block1, self.block2 = Residual(level.block1), Residual(level.block2)
        self.slices, self.depth = LinearWay(level.slice_attention), DepthWay(level.depth_attention)
        self.resample = level.resample if isinstance(level.resample, nn.Identity) else conv(level.resample)

    def forward(self, x: Tensor, embedding: Tensor, bias: Tensor) -> Tensor:
        return self.depth(self.slices(self.block2(self.block1(x, embedding), embedding)), bias)


class Residual(nn.Module):
    def __init__(self, block: ResidualBlock):
        super().__init__()
        self.modulation, self.first, self.second = block.modulation, Normed(block.first), Normed(block.second)
        self.shortcut = pointwise(block.shortcut) if isinstance(block.shortcut, nn.Linear) else block.shortcut

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale_shift = None
        if self.modulation is not None:
            scale_shift = self.modulation(F.silu(embedding))[:, :, None, None, None].chunk(2, dim=1)
        return self.second(self.first(x, scale_shift)) + self.shortcut(x)


class Normed(nn.Module):
    def __init__(self, block: NormedConv):
        super().__init__()
        self.conv, self.norm = conv(block.conv), block.norm

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.norm(self.conv(x))
        if scale_shift is not None:
            x = x * (scale_shift[0] + 1) + scale_shift[1]
        return F.silu(x)


class Attention(nn.Module):
    def __init__(self, attention: SliceAttention | DepthAttention):
        super().__init__()
        self.gain, self.heads = attention.norm.gain, attention.heads
        self.to_qkv, self.to_out = attention.to_qkv, attention.to_out

    def norm(self, x: Tensor) -> Tensor:
        mean, variance = x.mean(dim=1, keepdim=True), x.var(dim=1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * self.gain[:, None, None, None]

    def heads_of(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`x` (..., n, C) -> queries, keys, values (..., heads, n, head_dim)"""
        return tuple(p.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for p in self.to_qkv(x).chunk(3, dim=-1))  # type: ignore[return-value]


class DepthWay(Attention):
    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.heads_of(self.norm(x).permute(0, 3, 4, 2, 1))
        table = rotation_table(x.shape[2], q.shape[-1], x.device)
        scores = rotate(q * q.shape[-1] ** -0.5, table) @ rotate(k, table).transpose(-1, -2)
        out = (scores + bias).softmax(dim=-1) @ v
        return x + self.to_out(out.transpose(-2, -3).flatten(-2)).permute(0, 4, 3, 1, 2)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * torch.cat((table[0],) * 2, -1) + torch.cat((-second, first), -1) * torch.cat((table[1],) * 2, -1)


class SliceWay(Attention):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads_of(self.norm(x).permute(0, 2, 3, 4, 1).flatten(2, 3))
        out = self.to_out(self.attend(q, k, v).transpose(-2, -3).flatten(-2))
        return x + out.unflatten(2, x.shape[3:]).permute(0, 4, 1, 2, 3)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1) @ v


class LinearWay(SliceWay):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q.softmax(dim=-1) * q.shape[-1] ** -0.5 @ (k.softmax(dim=-2).transpose(-1, -2) @ v)


def conv(layer: SliceConv | nn.ConvTranspose2d) -> nn.Module:
    """The 3D convolution with a kernel of one slice."""
    kind = nn.ConvTranspose3d if isinstance(layer, nn.ConvTranspose2d) else nn.Conv3d
    (kernel, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, layer.padding
    made = kind(layer.in_channels, layer.out_channels, (1, kernel, kernel), (1, stride, stride), (0, padding, padding))
    made.weight, made.bias = nn.Parameter(layer.weight[:, :, None].contiguous()), layer.bias
    return made


def pointwise(layer: nn.Linear) -> nn.Conv3d:
    made = nn.Conv3d(layer.in_features, layer.out_features, 1)
    made.weight, made.bias = nn.Parameter(layer.weight[:, :, None, None, None]), layer.bias
    return made
