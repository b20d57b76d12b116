"""What only a GPU can show: the same bytes alone and in company, and agreement with the processor."""

from functools import partial

import numpy as np
import pytest

import LeFusionLib as lf

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cuda():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use")
    return lf.load_model("lung-nodule", "cuda")


@pytest.fixture(scope="module")
def scan():
    from LeFusionLib.phantom import chest_phantom, lung_sites

    volume, lungs = chest_phantom()
    sites = lung_sites(volume, lungs, 12.0, count=5)
    return volume, [lf.draw_lesion_mask(volume, lf.ControlSphere(tuple(site), 12.0), seed=1) for site in sites]


def test_a_lesion_has_the_same_bytes_alone_and_in_company(cuda, scan):
    volume, lesions = scan
    together = lf.synthesize(volume, lesions, cuda, "solid", seed=3).volume.array
    for lesion in lesions:
        alone = lf.synthesize(volume, lesion, cuda, "solid", seed=3).volume.array
        assert (alone[lesion.union] == together[lesion.union]).all()


def test_the_gpu_makes_what_the_processor_makes_to_a_few_grey_values(cuda, scan):
    volume, lesions = scan
    here = lf.synthesize(volume, lesions[0], cuda, "solid", seed=3).volume.array
    there = lf.synthesize(volume, lesions[0], lf.load_model("lung-nodule", "cpu"), "solid", seed=3).volume.array
    assert np.abs(here.astype(int) - there)[lesions[0].union].max() < 20


def test_a_shape_drawn_on_the_gpu_is_the_same_every_time_and_nearly_the_processors(cuda, scan):
    volume, lesions = scan
    draw = partial(lf.draw_lesion_mask, volume, lesions[0].sphere, seed=1)
    first, again, there = draw(device="cuda").union, draw(device="cuda").union, draw(device="cpu").union
    assert np.array_equal(first, again)
    assert 2 * (first & there).sum() / (first.sum() + there.sum()) > 0.97


@pytest.mark.parametrize("engine", ["eager", "graph", "compile"])
def test_half_precision_stays_within_a_percent_and_a_replayed_evaluation_is_the_same_every_time(cuda, engine):
    import torch

    quick = lf.load_model("lung-nodule", "cuda", "bfloat16", engine)
    dice = torch.Generator().manual_seed(1)
    x = torch.randn(4, 1, 16, 24, 24, generator=dice).cuda()
    context = torch.rand(4, 2, 16, 24, 24, generator=dice).cuda()
    condition = torch.rand(4, 16, generator=dice).cuda()
    with torch.inference_mode():
        for t in (299, 150, 1):
            times = torch.full((4,), t, device="cuda")
            expected = cuda.denoiser(x, times, condition, context)
            made = quick.denoiser(x, times, condition, context)
            assert (made - expected).norm() / expected.norm() < 1e-2
            assert torch.equal(made, quick.denoiser(x, times, condition, context))


def test_graphs_in_float32_are_the_eager_bytes(cuda):
    import torch

    replayed = lf.load_model("lung-nodule", "cuda", engine="graph")
    x, context = torch.randn(1, 1, 16, 24, 24).cuda(), torch.rand(1, 2, 16, 24, 24).cuda()
    with torch.inference_mode():
        for t in (299, 1):
            given = x, torch.tensor([t], device="cuda"), None, context
            assert torch.equal(replayed.denoiser(*given), cuda.denoiser(*given))
