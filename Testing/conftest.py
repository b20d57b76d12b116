"""What the tests share: where the measured figures lie, a hurry-free hypothesis, and networks small enough to run."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")


def pytest_configure(config):
    try:
        import torch
    except ImportError:  # floor 1 is tested without
        return
    # Tiny networks gain nothing from more threads, and lose a lot on a busy machine.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))


@pytest.fixture(scope="session")
def shared():
    """The folder with data and measured figures beside the repository; it is no part of it."""
    folder = Path(__file__).resolve().parents[1] / ".." / "shared"
    if not folder.is_dir():
        pytest.skip("the folder 'shared' with the measured figures does not lie beside this repository")
    return folder


@pytest.fixture(scope="session")
def golden(shared):
    """The folder with the figures measured on the published code."""
    folder = shared / "golden"
    if not folder.is_dir():
        pytest.skip("there is no folder 'golden' in 'shared'")
    return folder


@pytest.fixture(scope="session")
def golden_arrays(golden):
    """Arrays by file name, {name: array}."""

    def load(name):
        with np.load(golden / f"{name}.npz") as file:
            return dict(file)

    return load


@pytest.fixture(scope="session")
def released(golden):
    """Networks of the small published checkpoints by file name; loaded once."""
    from LeFusionLib.models.released import load_released_checkpoint

    loaded = {}

    def load(name):
        if name not in loaded:
            loaded[name] = load_released_checkpoint(golden / f"{name}.pt")
        return loaded[name]

    return load


@pytest.fixture(scope="session")
def tiny_spec():
    """A specification of a network that runs in a few hundredths of a second."""
    from LeFusionLib.models.spec import ModelSpec

    def spec(**changes):
        values = {
            "name": "tiny",
            "classes": ("nodule",),
            "patch_shapes": ((8, 16, 16), (16, 32, 32)),
            "spacing_mm": (1.0, 1.0, 1.0),
            "intensity": {"kind": "fixed", "low": -1000, "high": 400, "unit": "HU"},
            "dim": 8,
            "dim_mults": (1, 2),
            "heads": 2,
            "head_dim": 8,
            "context": "clean",
        }
        return ModelSpec(**values | changes)

    return spec


@pytest.fixture(scope="session")
def tiny_model(tiny_spec):
    """A whole model with random weights and the published textures; `denoiser` replaces the network."""
    import torch

    from LeFusionLib.diffusion import cosine_schedule
    from LeFusionLib.models.checkpoint import ModelCard
    from LeFusionLib.models.denoiser import Denoiser
    from LeFusionLib.models.sampler_spec import SamplerSpec
    from LeFusionLib.models.zoo import Model
    from LeFusionLib.texture import published_textures

    def model(denoiser=None, **changes):
        spec = tiny_spec(**changes)
        textures = published_textures("lidc" if spec.classes == ("nodule",) else "emidec")
        card = ModelCard(
            spec,
            SamplerSpec("dpm++", 2, 1, 1, 1.0),
            textures if spec.condition_size else {},
            "CC0-1.0",
            sha256="0" * 64,
        )
        if denoiser is None:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                denoiser = Denoiser(spec).eval().requires_grad_(False)
        return Model(card, denoiser, cosine_schedule(spec.timesteps), torch.device("cpu"))

    return model


@pytest.fixture(scope="session")
def tiny_folder(tiny_model, tmp_path_factory):
    """The tiny model as a folder, for what opens models by name: the command line, the worker."""
    from LeFusionLib.models.checkpoint import save_model

    model = tiny_model()
    return save_model(tmp_path_factory.mktemp("tiny"), model.denoiser, model.card)


@pytest.fixture(scope="session")
def tiny_hearts(tmp_path_factory):
    """Folders "tiny-heart", which makes both tissues, and "tiny-shapes", which draws both; with random weights."""
    from dataclasses import replace

    import torch

    from LeFusionLib.models.checkpoint import ModelCard, save_model
    from LeFusionLib.models.denoiser import Denoiser
    from LeFusionLib.models.mask_spec import MaskSpec
    from LeFusionLib.models.sampler_spec import SamplerSpec
    from LeFusionLib.models.spec import ModelSpec
    from LeFusionLib.texture import published_textures

    tissue = ModelSpec(
        name="tiny-heart", classes=("infarct", "no_reflow"), patch_shapes=((6, 24, 24), (8, 40, 40)), spacing_mm=None,
        intensity={"kind": "range"}, dim=8, dim_mults=(1, 2), heads=2, head_dim=8, context="clean", modality="MR",
    )  # fmt: skip
    mask = MaskSpec(boundary_channel=True, organ="the heart's muscle", nested=True, optional=("no_reflow",))
    shapes = replace(tissue, name="tiny-shapes", kind="mask", modality=None, intensity={}, mask=mask)
    folder = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for spec, textures in ((tissue, published_textures("emidec")), (shapes, {})):
            card = ModelCard(spec, SamplerSpec("ddim", 2, 1, 1, 1.0), textures, "research only")
            save_model(folder / spec.name, Denoiser(spec), card)
    return folder


def heart_labels():
    """(6, 40, 40): a ring of muscle (2) round the cavity (1), a quarter of it infarct (3), its core no-reflow (4)."""
    j, i = np.indices((40, 40)) - 20
    radius = np.hypot(j, i)
    flat = np.select([radius <= 6, radius <= 11], [1, 2], 0)
    flat[(flat == 2) & (j > abs(i))] = 3
    flat[(flat == 3) & (abs(i) < 4) & (radius < 10)] = 4
    return np.repeat(flat[None], 6, axis=0).astype(np.uint8)


@pytest.fixture(scope="session")
def heart_arrays():
    """A made-up short-axis stack of noise, (6, 40, 40) int16, its labels 0 to 4, and their matrix."""
    label = heart_labels()
    image = np.choose(label, [300, 700, 400, 800, 500]).astype(np.int16)
    image += np.random.default_rng(0).integers(0, 40, image.shape).astype(np.int16)
    return image, label, np.diag([-1.5, -1.5, 10.0, 1.0])
