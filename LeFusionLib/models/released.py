"""The published checkpoints (`lidc.pt`, `emidec.pt`, `diffmask.pt`) in our network, every key accounted for."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion.schedule import DiffusionSchedule, cosine_schedule
from ..errors import LeFusionError
from .denoiser import Denoiser
from .mask_spec import MaskSpec
from .spec import ModelSpec

# Published name -> ours, applied in this order. Convolution kernels (o, i, 1, k, k) lose their depth of one, and
# 1x1 convolutions become matrices.
RENAMES = [
    (r"^time_rel_pos_bias\.relative_attention_bias\.", "depth_bias."),
    (r"^null_cond_emb$", "null_condition"),
    (r"^time_mlp\.1\.", "time.first."),
    (r"^time_mlp\.3\.", "time.second."),
    (r"^init_conv\.", "stem."),
    (r"^init_temporal_attn\.", "stem_attention."),
    (r"^downs\.", "down."),
    (r"^ups\.", "up."),
    (r"^mid_block(\d)\.", r"middle.block\1."),
    (r"^mid_spatial_attn\.", "middle.slice_attention."),
    (r"^mid_temporal_attn\.", "middle.depth_attention."),
    (r"^final_conv\.0\.", "last_block."),
    (r"^final_conv\.1\.", "head."),
    (r"^(down|up)\.(\d+)\.0\.", r"\1.\2.block1."),
    (r"^(down|up)\.(\d+)\.1\.", r"\1.\2.block2."),
    (r"^(down|up)\.(\d+)\.2\.", r"\1.\2.slice_attention."),
    (r"^(down|up)\.(\d+)\.3\.", r"\1.\2.depth_attention."),
    (r"^(down|up)\.(\d+)\.4\.", r"\1.\2.resample."),
    (r"\.mlp\.1\.", ".modulation."),
    (r"(block\d|last_block)\.block1\.", r"\1.first."),
    (r"(block\d|last_block)\.block2\.", r"\1.second."),
    (r"\.proj\.", ".conv."),
    (r"\.res_conv\.", ".shortcut."),
    (r"attention(\.fn)+\.", "attention."),
    (r"\.norm\.gamma$", ".norm.gain"),
]
DERIVED = re.compile(r"\.rotary_emb\.freqs$")  # recomputed by us; checked, not loaded


class ReleasedDenoiser(Denoiser):
    """A published network with its habits and its own noise schedule."""

    def __init__(self, spec: ModelSpec, schedule: DiffusionSchedule):
        super().__init__(spec)
        self.schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, *rest: Any, **named: Any) -> Tensor:
        """As `Denoiser`; without a condition the published code passes zeros and a last 1, not the null condition."""
        if condition is None and self.spec.condition_size:
            condition = torch.zeros(1, self.spec.condition_size, dtype=x_t.dtype, device=x_t.device)
            condition[:, -1] = 1
        return super().forward(x_t, t, condition, *rest, **named)


def load_released_checkpoint(path: str | Path, weights: str = "model") -> ReleasedDenoiser:
    """The denoiser of a published checkpoint, or of one its trainer wrote; the kind is recognised from the keys.

    `weights`: "model" as the published inference reads, or "ema". Raises `LeFusionError` listing the keys that differ.
    """
    path = Path(path)
    state = _published_state(path, weights)
    try:
        spec = recognise(state, path.stem)
    except (LookupError, ValueError, TypeError, ZeroDivisionError) as error:
        raise _another_network(path, [f"missing or odd: {error}"]) from error
    buffers = {k: v for k, v in state.items() if k in _BUFFERS}
    if set(buffers) != _BUFFERS:
        raise _another_network(path, [f"missing: {k}" for k in sorted(_BUFFERS - set(buffers))])
    denoiser = ReleasedDenoiser(spec, _schedule(buffers, path))
    ours = denoiser.net.state_dict()
    renamed, problems = {}, []
    for key, value in state.items():
        if key in _BUFFERS:
            continue
        if DERIVED.search(key):
            expected = 10000.0 ** (-torch.arange(0, value.numel() * 2, 2) / (value.numel() * 2))
            if not torch.allclose(value.float(), expected, rtol=1e-5):
                problems.append(f"other rotary frequencies: {key}")
            continue
        name = rename(key.removeprefix("denoise_fn."))
        if name not in ours:
            problems.append(f"unknown: {key}")
        elif without_ones(value) != without_ones(ours[name]):
            problems.append(f"other shape: {key} {tuple(value.shape)}, expected {tuple(ours[name].shape)}")
        else:
            renamed[name] = value.reshape(ours[name].shape)
            if name.endswith("depth_attention.to_qkv.weight") or name == "stem_attention.to_qkv.weight":
                renamed[name] = halves_from_pairs(renamed[name], spec.heads, spec.head_dim)
    problems += [f"missing: {name}" for name in ours if name not in renamed]
    if problems:
        raise _another_network(path, problems)
    denoiser.net.load_state_dict(renamed)
    return denoiser.eval()


def rename(key: str) -> str:
    """Our name of a published U-Net key."""
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def without_ones(value: Tensor) -> list[int]:
    """The shape without axes of length one: all that kernels (o, i, 1, k, k), gains and 1x1 convolutions may lose."""
    return [n for n in value.shape if n != 1]


def halves_from_pairs(to_qkv: Tensor, heads: int, head_dim: int) -> Tensor:
    """Reorder the rows of queries and keys: published weights rotate neighbouring pairs (0, 1), (2, 3), ..., ours the
    first half against the second, which needs no interleaving. Scores do not depend on the order."""
    q, k, v = to_qkv.view(3, heads, head_dim, -1)
    order = torch.cat((torch.arange(0, head_dim, 2), torch.arange(1, head_dim, 2)))
    return torch.stack((q[:, order], k[:, order], v)).view(to_qkv.shape)


def recognise(state: Mapping[str, Tensor], name: str) -> ModelSpec:
    """The specification that a published state dict stands for."""
    stem = state["denoise_fn.init_conv.weight"]
    dim, channels = stem.shape[0], stem.shape[1]
    out = state["denoise_fn.final_conv.1.weight"].shape[0]
    levels = 1 + max(int(found[1]) for key in state if (found := re.match(r"denoise_fn\.downs\.(\d+)\.", key)))
    widths = [state[f"denoise_fn.downs.{level}.0.block1.proj.weight"].shape[0] for level in range(levels)]
    heads = state["denoise_fn.time_rel_pos_bias.relative_attention_bias.weight"].shape[1]
    inner = state["denoise_fn.init_temporal_attn.fn.fn.fn.to_qkv.weight"].shape[0] // 3
    condition = state.get("denoise_fn.null_cond_emb")
    kind = "mask" if condition is None else "texture"
    row = next((r for r in _PUBLISHED if r["kind"] == kind and len(r["classes"]) == out), None)
    if row is None or channels != out + (kind == "mask") or (condition is not None and condition.shape[1] != 16 * out):
        raise ValueError(f"{channels} input channels, {out} output channels")
    return ModelSpec(
        **row,
        name=name,
        dim=dim,
        dim_mults=tuple(w // dim for w in widths),
        heads=heads,
        head_dim=inner // heads,
        condition_way="none" if kind == "mask" else "concat",
        timesteps=len(state["betas"]),
    )


_CT: dict[str, Any] = {"kind": "fixed", "low": -1000.0, "high": 400.0, "unit": "HU"}
_PUBLISHED: list[dict[str, Any]] = [
    {
        "kind": "texture",
        "classes": ("nodule",),
        "patch_shapes": ((32, 64, 64),),
        "spacing_mm": (1.0, 1.0, 1.0),
        "intensity": _CT,
        "modality": "CT",
        "mask_model": "lung-nodule-mask",
    },
    {
        "kind": "texture",
        "classes": ("infarct", "no_reflow"),
        "patch_shapes": ((10, 72, 72),),
        "spacing_mm": None,
        "axes": "kij",  # its data set put (X, Y, Z) of a file into (Z, X, Y)
        "intensity": {"kind": "range"},
        "modality": "MR",
        "mask_model": "cardiac-mi-pmo-mask",
    },
    {
        "kind": "mask",
        "classes": ("nodule",),
        "patch_shapes": ((32, 64, 64),),
        "spacing_mm": (1.0, 1.0, 1.0),
        "intensity": {},
        "mask": MaskSpec(sphere_values=(255.0, 1.0), diameter_tolerance=0.25, published=True),
    },
]
_BUFFERS = set(cosine_schedule(2).published_buffers())


def _published_state(path: Path, weights: str) -> dict[str, Tensor]:
    try:
        file = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LeFusionError(f"There is no file {path.name}. Give the path of a published checkpoint (.pt).") from None
    except Exception as error:  # torch raises anything on damaged files: EOFError, IndexError, KeyError, ...
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise LeFusionError(
            f"{path.name} is not a checkpoint that can be read safely ({reason}). "
            "Download lidc.pt, emidec.pt or diffmask.pt again."
        ) from error
    state = file.get(weights) if isinstance(file, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        found = sorted(map(str, file)) if isinstance(file, dict) else type(file).__name__
        raise LeFusionError(f"{path.name} has no weights '{weights}' like a published checkpoint; it has: {found}.")
    # The trainer wraps the U-Net for several GPUs, which puts "module." into its keys.
    return {key.replace("denoise_fn.module.", "denoise_fn.", 1): value for key, value in state.items()}


def _schedule(buffers: dict[str, Tensor], path: Path) -> DiffusionSchedule:
    """The schedule of the file's betas; its other eleven buffers must follow from them."""
    cosine = cosine_schedule(len(buffers["betas"]))
    same = torch.allclose(cosine.betas.float(), buffers["betas"], rtol=1e-6, atol=0)
    schedule = cosine if same else DiffusionSchedule.from_betas(buffers["betas"])
    expected = schedule.published_buffers()
    odd = [
        k for k, v in expected.items() if v.shape != buffers[k].shape or not torch.allclose(v, buffers[k], rtol=1e-3)
    ]
    if odd:
        raise _another_network(path, [f"does not follow from betas: {k}" for k in odd])
    return schedule


def _another_network(path: Path, problems: list[str]) -> LeFusionError:
    shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
    return LeFusionError(
        f"{path.name} holds another network than the published lidc, emidec or diffmask ({shown}). "
        "Give one of those, or a model folder of our own format."
    )
