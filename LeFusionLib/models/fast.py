"""The same network, evaluated faster on a processor: for inference only.

What costs time in the plain network on a processor is less arithmetic than memory: every step writes a large tensor
that the next one reads again. Here a volume is a list of slabs, some slices each, small enough that the allocator
reuses them; norm, scale and shift, SiLU and sums are done in place; attention takes blocks of pixels that stay in the
cache; and what does not depend on the image is multiplied into the weights once:

- the norms' gains, the scale of the queries and each slice's rotary embedding into the projections along depth;
- the values and the output of linear attention around its (head_dim, head_dim) summary: neither exists per pixel;
- scale and shift of time and condition into the affine part of the group norms, all blocks in one product.

Nothing is approximated; outputs are the plain network's to rounding. The rows of a batch are computed one by one, in an
order that depends on nothing but the shape: a lesion has the same bytes alone and in company.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import DepthAttention, LinearSliceAttention, rotation_table
from .blocks import DepthConv, NormedConv, ResidualBlock, SliceConv, SliceUpsample
from .denoiser import Denoiser
from .unet3d import Level, UNet3D, alone

Slabs = list[Tensor]  # a volume as groups of neighbouring slices, each (f, H, W, C) and contiguous
Affine = tuple[Tensor, Tensor]  # gain and offset (C,) of a norm

SLAB_PIXELS = 2**14  # From 32 MiB on, every allocation comes as fresh pages, which cost more than their use.
BLOCK_TOKENS = 2**12  # pixels times slices that attention along depth takes at once
BLOCK_FLOATS = 2**20  # queries or keys that attention within slices takes at once


def fast(denoiser: Denoiser) -> Denoiser:
    """The denoiser, its network from now on evaluated by `FastUNet3D`."""
    denoiser.net = FastUNet3D(denoiser.net)  # type: ignore[assignment]
    return denoiser


class FastUNet3D(nn.Module):
    """The function of `net`, which is in float32 on a processor and is not trained any more."""

    def __init__(self, net: UNet3D):
        super().__init__()
        self.plain = net.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.null_condition = net.null_condition
        self.modulated = [m for m in net.modules() if isinstance(m, ResidualBlock) and m.modulation is not None]
        linear = [block.modulation for block in self.modulated if block.modulation is not None]
        self.modulation = torch.cat([m.weight for m in linear]), torch.cat([m.bias for m in linear])
        self.depth = {m: DepthWeights(m) for m in net.modules() if isinstance(m, DepthAttention)}
        self.linear = {m: LinearWeights(m) for m in net.modules() if isinstance(m, LinearSliceAttention)}

    @torch.inference_mode()
    def forward(
        self, x: Tensor, t: Tensor, condition: Tensor | None = None, focus_present_mask: Tensor | None = None
    ) -> Tensor:
        """As `UNet3D.forward`."""
        rows = len(x)
        stem_bias = self.plain.depth_bias(x.shape[2])[None]
        bias = alone(stem_bias, focus_present_mask).expand(rows, -1, -1, -1)
        conditions = [None] * rows if condition is None else condition.expand(rows, -1).split(1)
        made = [self.row(x[i], t[i : i + 1], conditions[i], stem_bias[0], bias[i]) for i in range(rows)]
        return torch.stack(made)

    def row(self, x: Tensor, t: Tensor, condition: Tensor | None, stem_bias: Tensor, bias: Tensor) -> Tensor:
        """`x` (C, F, H, W), `t` (1,), `condition` (1, condition_size), biases along depth (heads, F, F)."""
        net = self.plain
        embedding, condition = net.embedding(t, condition, 1)
        affine = self.affines(embedding[0])
        size = max(1, SLAB_PIXELS // (x.shape[2] * x.shape[3]))
        stem = [slicewise(net.stem, s) for s in x.permute(1, 2, 3, 0).contiguous().split(size)]
        slabs = [s.clone() for s in stem]
        self.depth[net.stem_attention].add_to(slabs, stem_bias)
        skips = []
        for level in net.down:
            slabs = self.level(level, slabs, affine, bias, condition)
            skips.append(slabs)
            if isinstance(level.resample, SliceConv):  # a quarter of the pixels: four times the slices
                size *= 4
                slabs = list(torch.cat([slicewise(level.resample, s) for s in slabs]).split(size))
        slabs = residual(net.middle.block1, slabs, next(affine))
        slabs = [slicewise(net.middle.slice_attention, s) for s in slabs]
        self.depth[net.middle.depth_attention].add_to(slabs, bias)
        slabs = residual(net.middle.block2, slabs, next(affine))
        for level in net.up:
            slabs = self.level(level, joined(slabs, skips.pop()), affine, bias, condition)
            if isinstance(level.resample, SliceUpsample):
                size //= 4
                slabs = [slicewise(level.resample, part) for s in slabs for part in s.split(size)]
        slabs = residual(net.last_block, joined(slabs, stem), None)
        return torch.cat([net.head(s) for s in slabs]).permute(3, 0, 1, 2)

    def affines(self, embedding: Tensor) -> Iterator[Affine]:
        """Gain and offset of the first norm of each modulated block, in the order of their use."""
        weight, bias = self.modulation
        made = torch.addmv(bias, weight, F.silu(embedding))
        for block in self.modulated:
            norm = block.first.norm
            scale, shift = made[: 2 * norm.num_channels].chunk(2)
            made = made[2 * norm.num_channels :]
            yield norm.weight * (scale + 1), torch.addcmul(shift, norm.bias, scale + 1)

    def level(
        self, level: Level, slabs: Slabs, affine: Iterator[Affine], bias: Tensor, condition: Tensor | None
    ) -> Slabs:
        slabs = residual(level.block1, slabs, next(affine))
        slabs = residual(level.block2, slabs, next(affine))
        self.linear[level.slice_attention].add_to(slabs)
        if level.condition_attention is not None:
            slabs = [level.condition_attention(s[None], condition)[0] for s in slabs]
        self.depth[level.depth_attention].add_to(slabs, bias)
        return slabs


class DepthWeights:
    """A `DepthAttention` with the rotary embedding in its projections, which thereby differ from slice to slice."""

    def __init__(self, attention: DepthAttention):
        self.heads, self.head_dim = attention.heads, attention.head_dim
        q, k, v = (attention.to_qkv.weight * attention.norm.gain).chunk(3)
        self.projections = torch.stack((q * self.head_dim**-0.5, k, v)).unflatten(1, (self.heads, self.head_dim))
        self.out = attention.to_out.weight.t().reshape(self.heads, self.head_dim, -1)
        self._rotated: dict[int, Tensor] = {}

    def rotated(self, slices: int) -> Tensor:
        """(heads, F, C, 3 head_dim): for each head and slice the weights of its queries, keys and values."""
        if slices not in self._rotated:
            q, k, v = self.projections[:, :, None].expand(-1, -1, slices, -1, -1)
            cos, sin = (part[..., None] for part in rotation_table(slices, self.head_dim, q.device))
            turned = []
            for first, second in (part.chunk(2, dim=2) for part in (q, k)):
                turned += [first * cos - second * sin, second * cos + first * sin]
            self._rotated[slices] = torch.cat((*turned, v), dim=2).transpose(2, 3).contiguous()
        return self._rotated[slices]

    def add_to(self, slabs: Slabs, bias: Tensor) -> None:
        """Add to `slabs`, in place, what each pixel attends to along depth; `bias` (heads, F, F)."""
        columns = [s.flatten(1, 2) for s in slabs]
        slices, pixels, channels = sum(map(len, columns)), columns[0].shape[1], columns[0].shape[2]
        weights, d = self.rotated(slices), self.head_dim
        block = max(1, BLOCK_TOKENS // slices)
        qkv = slabs[0].new_empty(block, slices, 3 * d)
        scores = qkv.new_empty(block, slices, slices)
        mixed = qkv.new_empty(block, slices, d)
        for start in range(0, pixels, block):
            there = [c[:, start : start + block] for c in columns]
            x = F.layer_norm(torch.cat(there), (channels,))
            n = x.shape[1]
            made = x.new_zeros(n * slices, channels)
            for head in range(self.heads):
                torch.bmm(x, weights[head], out=qkv[:n].transpose(0, 1))
                q, k, v = qkv[:n].split(d, dim=2)
                torch.baddbmm(bias[head], q, k.transpose(1, 2), out=scores[:n])
                torch.softmax(scores[:n], dim=-1, out=scores[:n])
                torch.bmm(scores[:n], v, out=mixed[:n])
                made.addmm_(mixed[:n].flatten(0, 1), self.out[head])
            added = made.view(n, slices, channels).transpose(0, 1).split([len(part) for part in there])
            for part, more in zip(there, added, strict=True):
                part += more


class LinearWeights:
    """A `LinearSliceAttention` around its summary: keys meet the pixels themselves, and values and output are applied
    to what is left, a matrix (heads * head_dim, C) per slice."""

    def __init__(self, attention: LinearSliceAttention):
        self.heads, self.head_dim = attention.heads, attention.head_dim
        q, k, v = (attention.to_qkv.weight * attention.norm.gain).chunk(3)
        self.q, self.k = q.t().contiguous(), k.t().contiguous()
        self.v = v.unflatten(0, (self.heads, self.head_dim)).transpose(1, 2).contiguous()  # (heads, C, head_dim)
        out = attention.to_out.weight * self.head_dim**-0.5
        self.out = out.t().reshape(self.heads, self.head_dim, -1)  # (heads, head_dim, C)
        self.bias = attention.to_out.bias / self.heads  # the queries of each head sum to 1

    def add_to(self, slabs: Slabs) -> None:
        """Add to `slabs`, in place, what each pixel attends to in its slice."""
        for slab in slabs:
            pixels = slab.flatten(1, 2)
            for part in pixels.split(max(1, BLOCK_FLOATS // (pixels.shape[1] * self.q.shape[1]))):
                x = F.layer_norm(part, part.shape[2:])
                k = x @ self.k
                k.sub_(k.amax(dim=1, keepdim=True)).exp_()
                seen = torch.bmm(k.transpose(1, 2), x).div_(k.sum(dim=1)[..., None])  # (f, inner, C)
                q = torch.mm(x.flatten(0, 1), self.q, out=k.flatten(0, 1)).unflatten(1, (self.heads, -1))
                torch.softmax(q, dim=-1, out=q)
                part.baddbmm_(k, self.around(seen))

    def around(self, seen: Tensor) -> Tensor:
        """(f, inner, C): what the queries are multiplied with."""
        f, inner, channels = seen.shape
        by_head = seen.unflatten(1, (self.heads, self.head_dim)).transpose(0, 1).flatten(1, 2)
        summary = torch.bmm(by_head, self.v)  # (heads, f head_dim, head_dim)
        out = torch.bmm(summary, self.out).add_(self.bias)
        return out.unflatten(1, (f, self.head_dim)).transpose(0, 1).reshape(f, inner, channels)


def residual(block: ResidualBlock, slabs: Slabs, modulated: Affine | None) -> Slabs:
    norm = block.second.norm
    made = normed(block.first, slabs, modulated or (block.first.norm.weight, block.first.norm.bias))
    made = normed(block.second, made, (norm.weight, norm.bias))
    for y, x in zip(made, slabs, strict=True):
        if isinstance(block.shortcut, nn.Linear):
            y += block.shortcut.bias
            y.flatten(0, 2).addmm_(x.flatten(0, 2), block.shortcut.weight.t())
        else:
            y += x
    return made


def normed(conv: NormedConv, slabs: Slabs, affine: Affine) -> Slabs:
    """`NormedConv.forward`, scale and shift already in gain and offset."""
    if isinstance(conv.depth, DepthConv):
        slabs = mixed_along_depth(conv.depth, slabs)
    slabs = [slicewise(conv.conv, s) for s in slabs]
    gain, offset = standardising(slabs, conv.norm, *affine)
    for s in slabs:
        F.silu(torch.addcmul(offset, s, gain, out=s), inplace=True)
    return slabs


def standardising(slabs: Slabs, norm: nn.GroupNorm, gain: Tensor, offset: Tensor) -> Affine:
    """Gain and offset with which the group norm is one multiplication and one addition."""
    pixels = [s.flatten(0, 2) for s in slabs]
    sums = torch.stack([p.sum(dim=0) for p in pixels]).double().sum(dim=0)
    squares = torch.stack([p.square().sum(dim=0) for p in pixels]).double().sum(dim=0)
    count = sum(s.numel() for s in slabs) / norm.num_groups
    mean = sums.view(norm.num_groups, -1).sum(dim=1) / count
    variance = squares.view(norm.num_groups, -1).sum(dim=1) / count - mean.square()
    inverse = (variance.clamp(min=0) + norm.eps).rsqrt()  # rounding alone may leave it below 0
    per_channel = norm.num_channels // norm.num_groups
    gain = gain * inverse.float().repeat_interleave(per_channel)
    return gain, offset - gain * mean.float().repeat_interleave(per_channel)


def mixed_along_depth(mixing: DepthConv, slabs: Slabs) -> Slabs:
    below, here, above = mixing.weight
    made = [s * here for s in slabs]
    for y, x in zip(made, slabs, strict=True):
        y[1:].addcmul_(x[:-1], below)
        y[:-1].addcmul_(x[1:], above)
    for i in range(1, len(slabs)):
        made[i][0].addcmul_(slabs[i - 1][-1], below)
        made[i - 1][-1].addcmul_(slabs[i][0], above)
    return made


def slicewise(module: nn.Module, slab: Tensor) -> Tensor:
    """A module for (B, F, H, W, C), of which no slice sees another, on a slab."""
    return module(slab[None])[0]


def joined(slabs: Slabs, skipped: Slabs) -> Slabs:
    return [torch.cat(pair, dim=-1) for pair in zip(slabs, skipped, strict=True)]
