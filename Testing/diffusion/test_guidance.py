"""Classifier-free guidance: from the null prediction, through the conditional one, and on by the scale."""

import numpy as np
import pytest
import torch

from LeFusionLib.diffusion import with_guidance


class Echo:
    """Predicts the condition's first number in every voxel, and counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, x_t, t, condition):
        self.calls.append(condition)
        return condition[:, 0, None, None, None, None].expand_as(x_t)


X, T = torch.zeros(2, 1, 1, 1, 1), torch.tensor([5, 5])
CONDITION, NULL = torch.tensor([[3.0], [4.0]]), torch.tensor([[1.0]])


@pytest.mark.parametrize("scale, expected", [(0.0, [1, 1]), (0.5, [2, 2.5]), (2.0, [5, 7])])
def test_the_scale_moves_from_null_towards_and_beyond_the_condition(scale, expected):
    echo = Echo()
    guided = with_guidance(echo, NULL, scale)
    assert guided(X, T, CONDITION).flatten().tolist() == expected
    assert len(echo.calls) == 2 and all(len(c) == 2 for c in echo.calls)


def test_scale_one_is_the_network_itself_at_one_evaluation():
    echo = Echo()
    assert with_guidance(echo, NULL, 1.0) is echo


@pytest.mark.parametrize("kind", ["lidc", "emidec"])
def test_scale_two_is_that_of_the_published_code(golden_arrays, released, kind):
    arrays, net = golden_arrays(f"golden_unet_{kind}_small"), released(f"ckpt_{kind}_small")
    x, t, condition = (torch.from_numpy(arrays[k]) for k in ("x", "t", "cond"))
    with torch.inference_mode():
        y = with_guidance(net, net.net.null_condition, 2.0)(x, t, condition).numpy()
    expected = arrays["y_scale2"]
    assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()
