"""The fast evaluation is the plain network: same outputs to rounding, same bytes however it is called."""

import copy

import numpy as np
import pytest
import torch

from LeFusionLib.models import fast as fast_module
from LeFusionLib.models.denoiser import Denoiser
from LeFusionLib.models.fast import FastUNet3D, fast
from LeFusionLib.models.unet3d import UNet3D
from LeFusionLib.models.zoo import load_model

TOLERANCE = 1e-5  # of the largest output
SMALL = {"in_channels": 2, "out_channels": 1, "dim": 8, "dim_mults": (1, 2, 4), "heads": 2, "head_dim": 8}
NETWORKS = {
    "histogram": {"condition_size": 16, "condition_scale": 16.0},
    "cross attention": {"condition_size": 16, "condition_way": "cross_attention"},
    "no condition": {},
    "deep": {"condition_size": 5, "deep": True},
    "one level, wide heads": {"dim_mults": (1,), "heads": 1, "head_dim": 32},
}


def networks(**options):
    """The same network twice, every weight away from what it is at the start."""
    torch.manual_seed(1)
    plain = UNet3D(**SMALL | options).eval().requires_grad_(False)
    for p in plain.parameters():
        p.add_(0.3 * torch.randn_like(p) * (p.std() if p.ndim > 1 else 1))
    return plain, FastUNet3D(copy.deepcopy(plain))


def distance(made, expected):
    return float((made - expected).abs().max() / expected.abs().max())


@torch.inference_mode()
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("shape", [(6, 8, 8), (1, 12, 20), (5, 32, 16)])
def test_it_is_the_plain_network(options, shape, monkeypatch):
    monkeypatch.setattr(fast_module, "SLAB_PIXELS", 600)  # several slabs on every level
    monkeypatch.setattr(fast_module, "BLOCK_TOKENS", 100)
    monkeypatch.setattr(fast_module, "BLOCK_FLOATS", 3000)
    plain, quick = networks(**options)
    x, t = torch.randn(3, 2, *shape), torch.tensor([0, 150, 299])
    condition = torch.rand(3, options["condition_size"]) if "condition_size" in options else None
    focus = torch.tensor([True, False, True])
    exact = copy.deepcopy(plain).double()
    cases = [(None, None), (condition, None), (condition, focus)]
    cases += [] if condition is None else [(condition[0], None)]
    for given, focused in cases:
        expected = exact(x.double(), t, None if given is None else given.double(), focused)
        assert distance(quick(x, t, given, focused), expected) < TOLERANCE


@torch.inference_mode()
def test_it_gives_the_same_bytes_alone_in_company_and_again_and_leaves_its_input_alone():
    _, quick = networks(condition_size=16)
    x, t, condition = torch.randn(4, 2, 5, 16, 16), torch.tensor([1, 50, 50, 299]), torch.rand(4, 16)
    before = x.clone()
    together = quick(x, t, condition)
    assert torch.equal(together, quick(x, t, condition)) and torch.equal(x, before)
    for row in range(4):
        assert torch.equal(together[row : row + 1], quick(x[row : row + 1], t[row : row + 1], condition[row : row + 1]))


@torch.inference_mode()
def test_large_keys_and_values_far_from_zero_do_no_harm():
    """Softmax over pixels without its maximum would overflow; sums of squares lose digits far from zero."""
    plain, quick = networks()
    for net in (plain, quick.plain):
        net.stem.bias += 30
        for level in net.down:
            level.slice_attention.to_qkv.weight *= 40
    quick = FastUNet3D(quick.plain)  # weights are taken in when it is made
    x, t = torch.randn(1, 2, 4, 16, 16), torch.tensor([20])
    expected = copy.deepcopy(plain).double()(x.double(), t)
    made = quick(x, t)
    assert made.isfinite().all()
    assert distance(made, expected) < max(TOLERANCE, 3 * distance(plain(x, t), expected))


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["lidc", "emidec", "diffmask"])
def test_every_recorded_forward_comes_out_of_a_loaded_model(kind, golden, golden_arrays):
    arrays = {name: torch.from_numpy(value) for name, value in golden_arrays(f"golden_unet_{kind}_small").items()}
    model = load_model(golden / f"ckpt_{kind}_small.pt", "cpu")
    assert isinstance(model.denoiser.net, FastUNet3D)
    if kind == "diffmask":
        pairs = [("sphere_u8", "y_u8_f64"), ("sphere_pm1", "y_pm1_f64")]
    else:
        pairs = [("cond", "y_f64")]
        focus = torch.tensor([True, False])
        made = model.denoiser.net(arrays["x"][:2], arrays["t"][:2], arrays["cond"][:2], focus)
        assert distance(made, arrays["y_focus_mixed"]) < TOLERANCE
        assert distance(model.denoiser.net(arrays["x"], arrays["t"]), arrays["y_null"]) < TOLERANCE
    for given, expected in pairs:
        assert distance(model.denoiser(arrays["x"], arrays["t"], arrays[given]), arrays[expected]) < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("name", ["lung-nodule", "lung-nodule-mask"])
def test_the_bundled_models_are_evaluated_so(name):
    from LeFusionLib.models.card import bundled_models, read_card
    from LeFusionLib.models.checkpoint import load_denoiser

    folder = bundled_models()[name]
    plain = load_denoiser(folder, read_card(folder)).net
    quick = load_model(name, "cpu").denoiser.net
    d, h, w = read_card(folder).spec.patch_shapes[0]
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, plain.stem.in_channels, d, h, w))).float()
    assert distance(quick(x, torch.tensor([250])), plain(x, torch.tensor([250]))) < TOLERANCE


@torch.inference_mode()
def test_a_feature_map_without_any_variance_stays_finite():
    _, quick = networks()
    quick.plain.down[0].block1.first.conv.weight.zero_()
    quick.plain.down[0].block1.first.conv.bias.fill_(1234.5)
    assert quick(torch.randn(1, 2, 3, 8, 8), torch.tensor([20])).isfinite().all()


def test_the_denoiser_keeps_what_others_ask_of_it(tiny_spec):
    plain = Denoiser(tiny_spec()).eval()
    parameters, null = sum(p.numel() for p in plain.parameters()), plain.net.null_condition
    quick = fast(plain)
    assert quick is plain and quick.net.null_condition is null
    assert sum(p.numel() for p in quick.parameters()) == parameters
    assert next(quick.parameters()).device == torch.device("cpu")
