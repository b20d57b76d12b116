"""Precision and engines: what a processor can show of them, and what it refuses."""

import shutil

import pytest
import torch

from LeFusionLib.errors import LeFusionError
from LeFusionLib.models.attention import DepthAttention
from LeFusionLib.models.denoiser import Denoiser
from LeFusionLib.models.engine import Autocast, Replayed, evaluated, prepared
from LeFusionLib.models.fast import FastUNet3D
from LeFusionLib.models.unet3d import UNet3D
from LeFusionLib.models.zoo import load_model

CPU = torch.device("cpu")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return UNet3D(2, 1, 8, (1, 2), heads=2, head_dim=8, condition_size=16).eval().requires_grad_(False)


def given(rows=1, seed=1):
    dice = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, 2, 4, 8, 8, generator=dice),
        torch.full((rows,), 7 * seed),
        torch.rand(rows, 16, generator=dice),
    )


@torch.inference_mode()
def test_in_half_precision_it_is_the_same_function_within_a_percent(net):
    x, t, condition = given()
    expected, made = net(x, t, condition), Autocast(net, torch.bfloat16)(x, t, condition)
    assert made.dtype == torch.float32 and not torch.equal(made, expected)
    assert (made - expected).norm() / expected.norm() < 2e-2


@torch.inference_mode()
def test_a_recorded_evaluation_is_replayed_for_every_new_input_and_recorded_anew_for_another_shape(net):
    runs = []

    def record(function):
        """Stands in for a CUDA graph: the output's place stays, and replaying fills it."""
        output = function().clone()

        def again():
            runs.append(len(runs))
            output.copy_(function())

        return output, again

    replayed = Replayed(net, record)
    assert replayed.null_condition is net.null_condition
    outputs = []
    for seed in (1, 2, 1):
        x, t, condition = given(seed=seed)
        outputs.append(replayed(x, t, condition))
        assert torch.equal(outputs[-1], net(x, t, condition))
    assert torch.equal(outputs[0], outputs[2]) and not torch.equal(outputs[0], outputs[1])
    assert len(replayed.recorded) == 1 and len(runs) == 3
    x, t, condition = given(rows=3)
    assert torch.equal(replayed(x, t, condition), net(x, t, condition))
    assert torch.equal(replayed(x, t), net(x, t))
    assert len(replayed.recorded) == 3
    focus = torch.tensor([True, False, True])
    assert torch.equal(replayed(x, t, condition, focus), net(x, t, condition, focus))


def test_on_a_processor_the_fast_evaluation_is_the_default_and_compiling_is_asked_for(tiny_spec, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net, **_: compiled.append(net) or net)
    assert isinstance(prepared(Denoiser(tiny_spec()), CPU).net, FastUNet3D) and compiled == []
    plain = Denoiser(tiny_spec())
    assert prepared(plain, CPU, engine="compile").net is compiled[0] is plain.net


def test_on_a_gpu_graphs_record_what_precision_and_compiler_made(net, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net, **_: compiled.append(net) or net)
    assert evaluated(net, "float32", "eager", replay=True) is net
    assert isinstance(evaluated(net, "bfloat16", "eager", replay=True), Autocast)
    assert evaluated(net, "float32", "graph", replay=True).net is net
    recorded = evaluated(net, "float16", "compile", replay=True)
    assert isinstance(recorded, Replayed) and recorded.null_condition is net.null_condition
    assert compiled == [recorded.net] and recorded.net.net is net and recorded.net.dtype == torch.float16


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler")
@torch.inference_mode()
def test_the_compiler_takes_attention_along_depth_for_what_it_is():
    """Written out over five dimensions it was mistaken for a pattern of four, and compiling failed."""
    torch.manual_seed(0)
    attention, x, bias = DepthAttention(8, heads=2, head_dim=8), torch.randn(1, 4, 4, 4, 8), torch.randn(1, 2, 4, 4)
    made = evaluated(attention, "float32", "compile", replay=False)(x, bias)
    assert torch.allclose(made, attention(x, bias), atol=1e-5)


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"precision": "bfloat16"}, "needs an NVIDIA GPU; the device is 'cpu'"),
        ({"engine": "graph"}, "needs an NVIDIA GPU"),
        ({"precision": "bf16"}, "Did you mean|Possible: float32, bfloat16, float16"),
        ({"engine": "compiled"}, "Did you mean 'compile'"),
    ],
)
def test_what_the_device_cannot_do_is_refused(asked, words):
    with pytest.raises(LeFusionError, match=words):
        load_model("lung-nodule", "cpu", **asked)
