"""A training run in miniature: data, views, loss, resuming, and the model that comes out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import LeFusionLib as lf
from LeFusionLib.diffusion import cosine_schedule, velocity
from LeFusionLib.errors import LeFusionError
from LeFusionLib.intensity import IntensityWindow
from LeFusionLib.models.denoiser import Denoiser
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.training.augment import random_view, smallest_shape
from LeFusionLib.training.batches import BatchMaker, texture_condition
from LeFusionLib.training.cases import LesionCase, read_cases, split_by_patient
from LeFusionLib.training.objective import batch_loss
from LeFusionLib.training.settings import PRESETS, TrainSettings, preset
from LeFusionLib.training.texture_groups import group, texture_presets
from LeFusionLib.training.train import learning_rate, train

SHAPES = ((8, 16, 16), (12, 24, 24))


def case(patient="p", center=(8, 16, 16), radius=2.5, value=0.2, shape=(16, 32, 32)):
    grid = np.indices(shape)
    mask = sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) <= radius**2
    image = np.where(mask, value, -0.8).astype(np.float32)
    return LesionCase(image, mask[None], IntensityWindow(), patient, f"{patient}/0")


@pytest.fixture
def settings():
    spec = replace(
        PRESETS["lung-nodule"].spec, name="tiny", patch_shapes=SHAPES, dim=8, dim_mults=(1, 2), heads=2, head_dim=8
    )
    return TrainSettings(
        spec,
        steps=6,
        batch_size=2,
        learning_rate=1e-3,
        validate_every=6,
        save_every=2,
        textures={"nodule": {"dark": 0.5, "bright": 0.5}},
        sampler=SamplerSpec("ddim", 2, 1, 1, 1.0),
    )


@pytest.fixture
def data(tmp_path):
    """Eight patients as image and mask files, half of them dark lesions."""
    folder = tmp_path / "data"
    folder.mkdir()
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    for number in range(8):
        made = case(radius=3.5, value=-0.5 if number % 2 else 0.3)
        image = IntensityWindow().restore(made.image).astype(np.int16)
        lf.write_volume(lf.Volume(image, matrix), folder / f"p{number}_image.nii.gz")
        lf.write_volume(lf.Volume(made.mask[0].astype(np.uint8), matrix), folder / f"p{number}_mask.nii.gz")
    return folder


def test_no_patient_is_on_both_sides_of_the_split():
    cases = [case(f"p{number % 5}") for number in range(20)]
    training, held_out = split_by_patient(cases, 0.3, seed=0)
    assert not {c.patient for c in training} & {c.patient for c in held_out}
    assert len(training) + len(held_out) == 20 and held_out
    with pytest.raises(LeFusionError, match="at least 2 patients"):
        split_by_patient(cases[:1], 0.3, seed=0)


def test_a_view_always_holds_the_whole_lesion_and_moves_image_and_mask_together():
    lesion = case(center=(2, 4, 28))  # near a corner: the view must reach over the border
    rng = np.random.default_rng(0)
    for _ in range(50):
        image, mask = random_view(lesion, SHAPES[0], 1, rng)
        assert image.shape == SHAPES[0] and mask.shape == (1, *SHAPES[0])
        assert mask.sum() == lesion.voxels
        assert np.allclose(image[mask[0]], 0.2) and np.allclose(image[~mask[0]], -0.8)


def test_views_differ_and_a_seed_repeats_them():
    views = [random_view(case(), SHAPES[0], 1, np.random.default_rng(seed))[1] for seed in (1, 1, 2, 3, 4)]
    assert (views[0] == views[1]).all()
    assert any((views[0] != other).any() for other in views[2:])


def test_a_lesion_gets_the_smallest_patch_that_holds_it():
    assert smallest_shape(case(radius=2.0), SHAPES, 1) == 0
    assert smallest_shape(case(radius=4.0), SHAPES, 1) == 1
    assert smallest_shape(case(radius=7.0), SHAPES, 1) is None


def test_the_condition_is_the_lesions_own_histogram_and_zeros_for_an_absent_class():
    image = np.array([[[-1.0, 0.99, 0.99, 0.0]]], dtype=np.float32)
    mask = np.array([[[[True, True, True, False]]], [[[False] * 4]]])
    condition = texture_condition(image, mask)
    assert condition.shape == (32,)
    assert condition[0] == pytest.approx(1 / 3) and condition[15] == pytest.approx(2 / 3)
    assert (condition[16:] == 0).all()


def test_a_step_draws_the_same_batch_whenever_it_comes(settings):
    cases = [case(f"p{n}", radius=2 + n % 3) for n in range(6)]
    one, two = (BatchMaker(cases, settings.spec, 2, 0.1, seed=3) for _ in range(2))
    one.draw(0)
    for name, value in vars(one.draw(5)).items():
        assert torch.equal(value, getattr(two.draw(5), name)), name


def test_the_background_never_reaches_a_lesion_focused_loss(settings):
    batch = BatchMaker([case("a"), case("b")], settings.spec, 2, 0.0, seed=0).draw(0)
    schedule = cosine_schedule(300)
    seen = {}
    alpha_bar = schedule.alphas_cumprod[batch.t].float()[:, None, None, None, None]
    target = velocity(batch.x_start, alpha_bar, batch.noise)

    def cheat(x_t, t, condition, context, drop, as_noise):
        seen["context"] = context
        return target + 100 * (1 - batch.lesion_mask)

    assert batch_loss(cheat, batch, schedule, settings).item() == 0
    assert (seen["context"][:, :1] * batch.lesion_mask == 0).all()  # the answer is cut out of the clean background


def test_rows_that_drop_the_condition_do_not_see_it(settings):
    denoiser = Denoiser(settings.spec).eval()
    torch.nn.init.normal_(denoiser.net.null_condition)
    maker = BatchMaker([case("a"), case("b")], settings.spec, 2, 0.0, seed=0)
    batch = maker.draw(0)
    dropped = replace(batch, drop=torch.ones_like(batch.drop))
    other = replace(dropped, condition=torch.flip(batch.condition, dims=[1]))
    losses = [batch_loss(denoiser, b, cosine_schedule(300), settings).item() for b in (batch, dropped, other)]
    assert losses[0] != losses[1] and losses[1] == losses[2]


def test_the_learning_rate_warms_up_and_falls():
    settings = preset("lung-nodule", steps=1000)
    rates = [learning_rate(settings, step) for step in (0, settings.warmup_steps, 500, 999)]
    assert rates[0] < rates[1] == settings.learning_rate > rates[2] > rates[3] > 0
    assert learning_rate(preset("lung-nodule-paper"), 39_000) == 1e-4


def test_texture_groups_separate_dark_from_bright_lesions():
    rng = np.random.default_rng(0)
    dark = rng.dirichlet(np.r_[np.full(5, 20.0), np.full(11, 0.1)], 20)
    bright = rng.dirichlet(np.r_[np.full(11, 0.1), np.full(5, 20.0)], 30)
    assert (group(np.concatenate([bright, dark]), 2, seed=0) == [1] * 30 + [0] * 20).all()
    cases = [case(f"p{n}", radius=3.5, value=value) for n, value in enumerate([-0.5, 0.3] * 4)]
    presets = texture_presets(cases, 0, ("dark", "bright"), (0.4, 0.6))
    window = IntensityWindow()
    assert presets["dark"].mean(window) < presets["bright"].mean(window)
    assert presets.probabilities == {"dark": 0.4, "bright": 0.6}


def test_a_run_trains_validates_resumes_to_the_same_weights_and_makes_a_model(settings, data, tmp_path):
    whole = train(settings, data, tmp_path / "whole")
    train(replace(settings, steps=4), data, tmp_path / "halves")
    resumed = train(settings, data, tmp_path / "halves")
    from safetensors.torch import load_file

    a, b = load_file(whole / "weights.safetensors"), load_file(resumed / "weights.safetensors")
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    log = (tmp_path / "whole" / "log.csv").read_text()
    assert "validation_loss" in log and "texture_distance" in log
    assert list((tmp_path / "whole").glob("samples_*.png"))
    model = lf.load_model(whole, "cpu")
    assert list(model.textures["nodule"]) == ["dark", "bright"]
    held_out = model.card.training["held_out_patients_sha256"]
    assert held_out and model.card.training["patients"] + len(held_out) == 8


def test_a_run_is_not_resumed_with_other_settings(settings, data, tmp_path):
    train(replace(settings, steps=2, validate_every=100), data, tmp_path / "run")
    with pytest.raises(LeFusionError, match="learning_rate"):
        train(replace(settings, steps=2, validate_every=100, learning_rate=0.5), data, tmp_path / "run")


def test_training_without_cases_says_what_is_expected(settings, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LeFusionError, match="no training cases"):
        read_cases(tmp_path / "empty", settings.spec)


def test_the_real_archives_are_read_with_tight_masks(shared):
    cases = read_cases(shared / "data", PRESETS["lung-nodule"].spec)
    assert len(cases) > 1000
    loose = sum(np.load(f)["mask_voxels"].sum() for f in sorted((shared / "data").glob("nodules_*.npz")))
    assert sum(c.voxels for c in cases) < 0.9 * loose  # consensus masks hold no rim of lung
    assert all(c.image.min() >= -1 and c.image.max() <= 1 for c in cases)
