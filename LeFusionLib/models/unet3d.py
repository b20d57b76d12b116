"""The denoising network: a U-Net of in-plane convolutions whose slices talk through attention along depth."""

import torch
from torch import Tensor, nn

from .attention import ConditionAttention, DepthAttention, DepthBias, LinearSliceAttention, SliceAttention
from .blocks import ResidualBlock, SliceConv, SliceUpsample, TimeEmbedding


class UNet3D(nn.Module):
    """The published network at any width (LeFusion, Sec. 4 and its released weights; video U-Net: Ho et al. 2022).

    in_channels, out_channels: channels of the network's input and of the predicted noise.
    dim, dim_mults: width of the first level; widths of the levels as its multiples.
    condition_size: length of the condition vector, 0 for none. condition_way: "concat" joins it to the time embedding
    (the released weights), "cross_attention" lets every voxel attend to its entries (the paper's text).
    condition_scale: what the condition is multiplied by on its way in. A histogram's entries are about 1/16 where the
    time embedding's are about 1; unscaled, as published, it is long overheard in training.
    deep: the convolutions of all blocks see the slices above and below too; else, as published, only attention does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dim: int,
        dim_mults: tuple[int, ...] = (1, 2, 4, 8),
        heads: int = 8,
        head_dim: int = 32,
        condition_size: int = 0,
        condition_way: str = "concat",
        condition_scale: float = 1.0,
        deep: bool = False,
    ):
        super().__init__()
        self.condition_scale = condition_scale
        self.concat_condition = condition_way == "concat" and condition_size > 0
        embedding = 4 * dim + (condition_size if self.concat_condition else 0)
        attended = condition_size if condition_way == "cross_attention" else 0
        attention = (heads, head_dim)
        widths = [dim * m for m in dim_mults]

        self.time = TimeEmbedding(dim)
        self.null_condition = nn.Parameter(torch.zeros(1, condition_size)) if condition_size else None
        self.depth_bias = DepthBias(heads)
        self.stem = SliceConv(in_channels, dim, 7, padding=3)
        self.stem_attention = DepthAttention(dim, *attention)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            narrow, last = widths[max(level - 1, 0)], level == len(widths) - 1
            resample: nn.Module = nn.Identity() if last else SliceConv(width, width, 4, stride=2, padding=1)
            self.down.append(Level(narrow, width, embedding, attention, attended, resample, deep))
        self.middle = Middle(widths[-1], embedding, attention, deep)
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths))):
            width, narrow, last = widths[level], widths[max(level - 1, 0)], level == 0
            resample = nn.Identity() if last else SliceUpsample(narrow)
            self.up.append(Level(2 * width, narrow, embedding, attention, attended, resample, deep))
        self.last_block = ResidualBlock(2 * dim, dim, None, deep)
        self.head = nn.Linear(dim, out_channels)

    def forward(
        self, x: Tensor, t: Tensor, condition: Tensor | None = None, focus_present_mask: Tensor | None = None
    ) -> Tensor:
        """Predicted noise (B, out_channels, F, H, W).

        `x` (B, in_channels, F, H, W), H and W multiples of 2^(levels - 1); `t` (B,); `condition` (B, condition_size),
        (condition_size,) for all rows, or None for the learned null condition. Rows with `focus_present_mask` (B,) set
        let no slice see another, except in the first attention (Ho et al. 2022, joint image training).
        """
        x = x.permute(0, 2, 3, 4, 1)
        batch, slices = x.shape[:2]
        embedding, condition = self.embedding(t, condition, batch)
        bias = self.depth_bias(slices)[None]
        stem = self.stem(x.contiguous())
        x = self.stem_attention(stem, bias)
        bias = alone(bias, focus_present_mask)
        skips = []
        for level in self.down:
            x = level.features(x, embedding, bias, condition)
            skips.append(x)
            x = level.resample(x)
        x = self.middle(x, embedding, bias)
        for level in self.up:
            x = level.resample(level.features(torch.cat((x, skips.pop()), dim=-1), embedding, bias, condition))
        x = self.last_block(torch.cat((x, stem), dim=-1))
        return self.head(x).permute(0, 4, 1, 2, 3)

    def embedding(self, t: Tensor, condition: Tensor | None, batch: int) -> tuple[Tensor, Tensor | None]:
        """What the blocks are told of time and condition (B, E), and the condition of each row, scaled."""
        if self.null_condition is not None:
            condition = (self.null_condition if condition is None else condition).expand(batch, -1)
            condition = condition * self.condition_scale
        embedding = self.time(t)
        if self.concat_condition and condition is not None:
            embedding = torch.cat((embedding, condition), dim=-1)
        return embedding, condition


class Level(nn.Module):
    """Two residual blocks, attention within slices, (attention to the condition,) attention along depth, resampling."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int,
        attention: tuple[int, int],
        attended: int,
        resample: nn.Module,
        deep: bool,
    ):
        super().__init__()
        self.block1 = ResidualBlock(channels_in, channels_out, embedding, deep)
        self.block2 = ResidualBlock(channels_out, channels_out, embedding, deep)
        self.slice_attention = LinearSliceAttention(channels_out, *attention)
        self.condition_attention = ConditionAttention(channels_out, attended, *attention) if attended else None
        self.depth_attention = DepthAttention(channels_out, *attention)
        self.resample = resample

    def features(self, x: Tensor, embedding: Tensor, bias: Tensor, condition: Tensor | None) -> Tensor:
        x = self.slice_attention(self.block2(self.block1(x, embedding), embedding))
        if self.condition_attention is not None:
            x = self.condition_attention(x, condition)
        return self.depth_attention(x, bias)


class Middle(nn.Module):
    """The narrowest part: full attention within slices and along depth between two residual blocks."""

    def __init__(self, channels: int, embedding: int, attention: tuple[int, int], deep: bool):
        super().__init__()
        self.block1 = ResidualBlock(channels, channels, embedding, deep)
        self.slice_attention = SliceAttention(channels, *attention)
        self.depth_attention = DepthAttention(channels, *attention)
        self.block2 = ResidualBlock(channels, channels, embedding, deep)

    def forward(self, x: Tensor, embedding: Tensor, bias: Tensor) -> Tensor:
        x = self.depth_attention(self.slice_attention(self.block1(x, embedding)), bias)
        return self.block2(x, embedding)


def alone(bias: Tensor, focus_present_mask: Tensor | None) -> Tensor:
    """Forbid all attention between different slices in the rows that `focus_present_mask` (B,) sets."""
    if focus_present_mask is None:
        return bias
    others = ~torch.eye(bias.shape[-1], dtype=torch.bool, device=bias.device)
    return bias.masked_fill(focus_present_mask[:, None, None, None] & others, float("-inf"))
