"""The network is the published one: every output and every inner feature map, to rounding."""

import json
import zlib

import numpy as np
import pytest
import torch

from LeFusionLib.models.blocks import DepthConv
from LeFusionLib.models.released import load_released_checkpoint, rename
from LeFusionLib.models.unet3d import UNet3D

KINDS = ["lidc", "emidec", "diffmask"]
TOLERANCE = 1e-5  # of the largest output; the published code itself is within 4e-7 to 1e-6 of float64


@pytest.fixture(scope="module", params=KINDS)
def case(request, golden_arrays, released):
    return request.param, golden_arrays(f"golden_unet_{request.param}_small"), released(f"ckpt_{request.param}_small")


def close(y, expected):
    assert y.shape == expected.shape
    assert np.abs(y.numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


def tensors(arrays, *names):
    return [torch.from_numpy(arrays[name]) for name in names]


@torch.inference_mode()
def test_every_recorded_forward_comes_out(case):
    kind, arrays, net = case
    x, t = tensors(arrays, "x", "t")
    if kind == "diffmask":
        close(net(x, t, *tensors(arrays, "sphere_u8")), arrays["y_u8_f64"])
        close(net(x, t, *tensors(arrays, "sphere_pm1")), arrays["y_pm1_f64"])
        return
    (condition,) = tensors(arrays, "cond")
    close(net(x, t, condition), arrays["y_f64"])
    close(net.net(x, t, None), arrays["y_null"])
    x_odd, t_odd = tensors(arrays, "x_odd", "t_odd")
    close(net(x_odd, t_odd, condition[:1]), arrays["y_odd"])
    if kind == "lidc":
        close(net(x, t), arrays["y_default_cond"])
    else:
        close(net(x[:2], t[:2], condition[0]), arrays["y_cond1d"])


@torch.inference_mode()
def test_rows_with_the_focus_flag_let_no_slice_see_another(case):
    kind, arrays, net = case
    if kind == "diffmask":
        pytest.skip("recorded for the texture models only")
    x, t, condition = (value[:2] for value in tensors(arrays, "x", "t", "cond"))
    close(net.net(x, t, condition, torch.tensor([True, True])), arrays["y_focus_all"])
    close(net.net(x, t, condition, torch.tensor([True, False])), arrays["y_focus_mixed"])
    close(net.net(x, t, condition, torch.tensor([False, False])), arrays["y_f64"][:2])


@torch.inference_mode()
def test_a_row_is_the_same_alone_and_in_company(case):
    kind, arrays, net = case
    x, t, condition = tensors(arrays, "x", "t", "sphere_pm1" if kind == "diffmask" else "cond")
    together = net(x, t, condition)
    for row in (1, 3):
        alone = net(x[row : row + 1], t[row : row + 1], condition[row : row + 1])
        close(alone, together[row : row + 1].numpy())


def channels_first(features):
    """(B, F, H, W, C) as the published code has it, (B, C, F, H, W)."""
    return features.movedim(-1, 1)


@torch.inference_mode()
def test_every_recorded_feature_map_comes_out(golden_arrays, released):
    trace, arrays = golden_arrays("golden_trace_lidc_small"), golden_arrays("golden_unet_lidc_small")
    net = released("ckpt_lidc_small")
    modules, seen = dict(net.net.named_modules()), {}

    def recorder(name, inner):
        def record(module, inputs, output):
            seen[name] = (output - inputs[0] if inner else output).clone()

        return record

    hooks = []
    for name in trace:
        inner = name.endswith(".fn.fn")  # the attention without its residual
        ours = {"time_mlp": "time", "final_conv": "head", "time_rel_pos_bias": "depth_bias"}.get(name) or rename(
            f"{name.removesuffix('.fn.fn')}."
        ).rstrip(".")
        hooks.append(modules[ours].register_forward_hook(recorder(name, inner)))
    x, t, condition = (value[:2] for value in tensors(arrays, "x", "t", "cond"))
    net(x, t, condition)
    for hook in hooks:
        hook.remove()

    assert len(seen) == len(trace) == 55
    for name, expected in trace.items():
        got = seen[name]
        if got.ndim == 5:
            got = channels_first(got)
        elif name.endswith(".block1.norm"):  # the group norm sees depth folded into height
            got = got.unflatten(2, (expected.shape[2], expected.shape[3]))
        assert got.shape == expected.shape, name
        assert np.abs(got.numpy() - expected).max() <= TOLERANCE * np.abs(expected).max(), name


def weights(key, shape, seed):
    """The recipe of the golden set's description: a weight from its name, its shape and a seed."""
    if key.endswith("rotary_emb.freqs"):
        return 10000 ** -(torch.arange(0, 32, 2) / 32)
    dice = np.random.RandomState((zlib.crc32(key.encode()) ^ (seed * 2654435761)) % 2**32)
    z = dice.standard_normal(shape).astype(np.float32)
    if key.endswith(("norm.gamma", "norm.weight")):
        z = 1 + np.float32(0.3) * z
    elif key.endswith(".bias"):
        z = np.float32(0.1) * z
    elif key.endswith(("relative_attention_bias.weight", "null_cond_emb")):
        z = np.float32(0.5) * z
    else:
        z = z / np.float32(np.sqrt(np.prod(shape[1:])))
    return torch.from_numpy(z.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("kind, seed", [("lidc", 11), ("emidec", 12), ("diffmask", 13)])
def test_the_recipe_makes_the_small_checkpoints(golden, kind, seed):
    file = torch.load(golden / f"ckpt_{kind}_small.pt", weights_only=True)
    for which, its_seed in (("model", seed), ("ema", seed + 900)):
        for key, value in file[which].items():
            if key.startswith("denoise_fn.module."):
                made = weights(key.removeprefix("denoise_fn.module."), tuple(value.shape), its_seed)
                exact = not key.endswith("freqs")
                assert torch.equal(made, value) if exact else torch.allclose(made, value, rtol=1e-6), key


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_full_size_network_of_recipe_weights_runs_on_a_whole_patch(golden, tmp_path):
    keys = json.loads((golden / "keys_lidc.json").read_text())
    buffers = torch.load(golden / "ckpt_lidc_small.pt", weights_only=True)["model"]
    state = {
        row["key"]: weights(row["key"].removeprefix("denoise_fn.module."), tuple(row["shape"]), 11)
        if row["key"].startswith("denoise_fn.")
        else buffers[row["key"]]
        for row in keys["saved_training"]
    }
    torch.save({"step": 0, "model": state, "ema": state, "scaler": {}}, tmp_path / "lidc.pt")
    net = load_released_checkpoint(tmp_path / "lidc.pt")
    assert sum(p.numel() for p in net.parameters()) == keys["n_parameters"]
    with torch.inference_mode():
        x = torch.randn(1, 1, 32, 64, 64, generator=torch.Generator().manual_seed(0))
        y = net(x, torch.tensor([150]), torch.rand(1, 16))
    assert y.shape == x.shape and y.isfinite().all() and y.std() > 0


@pytest.mark.parametrize("way", ["none", "concat", "cross_attention"])
def test_the_condition_counts_in_every_way_but_none(way):
    torch.manual_seed(0)
    size = 0 if way == "none" else 16
    net = UNet3D(1, 1, 8, (1, 2), heads=2, head_dim=8, condition_size=size, condition_way=way).eval()
    x, t = torch.randn(2, 1, 3, 8, 8), torch.tensor([3, 200])
    first, second = torch.zeros(2, 16), torch.zeros(2, 16)
    first[:, 2] = second[:, 13] = 1
    with torch.inference_mode():
        y, other, again = net(x, t, first), net(x, t, second), net(x, t, first)
        assert y.shape == x.shape and torch.equal(y, again)
        assert torch.equal(y, other) == (way == "none")
        if size:
            assert not torch.equal(net(x, t, None), y)
            assert torch.allclose(net(x, t, first[0]), y, atol=1e-6)


def test_slices_talk_only_along_depth_and_pixels_only_within_slices_of_attention():
    """With every row's focus on itself, a change in the last slice is seen elsewhere only through the stem's attention
    and the norms; without attention along depth at all, only through the norms."""
    torch.manual_seed(0)
    net = UNet3D(1, 1, 8, (1,), heads=2, head_dim=8).eval()
    x = torch.randn(1, 1, 4, 8, 8)
    changed = x.clone()
    changed[:, :, -1] += 1
    with torch.inference_mode():
        stem = net.stem(x.permute(0, 2, 3, 4, 1)), net.stem(changed.permute(0, 2, 3, 4, 1))
        assert torch.allclose(stem[0][:, :-1], stem[1][:, :-1])
        after = [net.stem_attention(s, net.depth_bias(4)[None]) for s in stem]
    assert not torch.allclose(after[0][:, 0], after[1][:, 0])


def test_mixing_along_depth_is_the_depthwise_convolution_of_three_slices():
    mixing = DepthConv(3)
    x = torch.randn(2, 5, 4, 4, 3)
    assert torch.equal(mixing(x), x)  # it starts by changing nothing
    with torch.no_grad():
        mixing.weight.copy_(torch.randn(3, 3))
    same = torch.nn.functional.conv3d(
        x.permute(0, 4, 1, 2, 3), mixing.weight.t()[:, None, :, None, None], padding=(1, 0, 0), groups=3
    )
    assert torch.allclose(mixing(x), same.permute(0, 2, 3, 4, 1), atol=1e-6)


def test_a_deep_network_starts_as_the_flat_one_and_then_sees_its_neighbours():
    options = {"in_channels": 1, "out_channels": 1, "dim": 8, "dim_mults": (1, 2), "heads": 2, "head_dim": 8}
    flat, deep = UNet3D(**options), UNet3D(**options, deep=True)
    assert set(deep.load_state_dict(flat.state_dict(), strict=False).missing_keys) == {
        name for name in deep.state_dict() if name.endswith(".depth.weight")
    }
    x, t = torch.randn(1, 1, 5, 8, 8), torch.tensor([7])
    assert torch.allclose(deep(x, t), flat(x, t), atol=1e-6)
