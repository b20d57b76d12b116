"""Progressive distillation: the target is where two steps land, a tiny student learns it, a stopped run goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import LeFusionLib as lf
from LeFusionLib.diffusion import cosine_schedule, ddim_step, time_grid
from LeFusionLib.errors import LeFusionError
from LeFusionLib.models.card import ModelCard
from LeFusionLib.models.checkpoint import save_model
from LeFusionLib.models.denoiser import Denoiser
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.zoo import load_model
from LeFusionLib.synthesis.diffmask import diffuse_shape
from LeFusionLib.training import distill as distilling
from LeFusionLib.training.batches import Batch, BatchMaker
from LeFusionLib.training.cases import read_cases
from LeFusionLib.training.distill import distill, halving_loss
from LeFusionLib.training.distill_settings import DistillSettings, distillation
from LeFusionLib.training.shape_batches import ShapeBatchMaker
from LeFusionLib.training.shape_cases import read_shapes

SCHEDULE = cosine_schedule(300)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six patients with a lesion of their own brightness in a dark lung."""
    folder, matrix = tmp_path_factory.mktemp("data"), np.diag([-1.0, -1.0, 1.0, 1.0])
    dice = np.random.default_rng(0)
    mask = np.zeros((8, 16, 16), np.uint8)
    mask[2:6, 5:11, 5:11] = 1
    for number in range(6):
        image = np.where(mask, 100 * number - 500, -850) + dice.normal(0, 30, mask.shape)
        lf.write_volume(lf.Volume(image.astype(np.int16), matrix), folder / f"p{number}_image.nii.gz")
        lf.write_volume(lf.Volume(mask, matrix), folder / f"p{number}_mask.nii.gz")
    return folder


@pytest.fixture
def teacher(tiny_model, tmp_path):
    model = tiny_model(patch_shapes=((8, 16, 16),), prediction="velocity")
    return save_model(tmp_path / "teacher", model.denoiser, model.card, "float32")


def settings(teacher, **changes):
    return DistillSettings(**{"teacher": str(teacher), "stages": (2, 1), "steps": 30, "batch_size": 2} | changes)


def batch_of(data, spec):
    return BatchMaker(read_cases(data, spec), spec, 4, null_share=0.0, seed=99).draw(0)


class Known(torch.nn.Module):
    """Knows the patch exactly: one step and two land at the same place."""

    def __init__(self, spec, batch):
        super().__init__()
        self.spec, self.batch = spec, batch

    def forward(self, x, t, as_noise, **shown):
        a = SCHEDULE.alpha_bar(int(t[0]))
        noise = (x - a**0.5 * self.batch.x_start) / (1 - a) ** 0.5
        if as_noise or self.spec.prediction == "noise":
            return noise
        return a**0.5 * noise - (1 - a) ** 0.5 * self.batch.x_start


@pytest.mark.parametrize("prediction", ["velocity", "noise"])
def test_who_knows_the_patch_has_nothing_to_learn(data, tiny_spec, prediction):
    spec = tiny_spec(patch_shapes=((8, 16, 16),), prediction=prediction)
    batch = batch_of(data, spec)
    batch = Batch(**{k: v.double() if v.is_floating_point() else v for k, v in vars(batch).items()})
    known = Known(spec, batch)
    for times in ([299, 149, -1], [150, 75, 10]):
        assert halving_loss(known, known, batch, times, SCHEDULE) < 1e-10


def test_the_target_lands_where_the_teachers_two_steps_do(data, tiny_spec):
    """A student that puts out its target makes the teacher's two steps in one."""
    spec = tiny_spec(patch_shapes=((8, 16, 16),), prediction="noise")
    batch = batch_of(data, spec)
    asked = []

    class Teacher(Known):
        def forward(self, x, t, as_noise, **shown):
            asked.append((x, int(t[0])))
            return 0.6 * x + 0.01 * int(t[0]) * 0.1

    class Student(Known):
        def forward(self, x, t, as_noise, **shown):
            (_, t0), (middle, t1) = asked
            noise = 0.6 * middle + 0.001 * t1
            a0, a1, a2 = (SCHEDULE.alpha_bar(n) for n in (t0, t1, 100))
            end = ddim_step(
                middle, ((middle - (1 - a1) ** 0.5 * noise) / a1**0.5).clamp(-1, 1), (), t1, 100, SCHEDULE, 0
            )
            # the noise with which one step over both lands there
            share = ((1 - a2) / (1 - a0)) ** 0.5
            clean = (end - share * x) / (a2**0.5 - share * a0**0.5)
            one = ddim_step(x, clean, (), t0, 100, SCHEDULE, 0)
            assert torch.allclose(one, end, atol=1e-4)
            return (x - a0**0.5 * clean) / (1 - a0) ** 0.5

    assert halving_loss(Student(spec, batch), Teacher(spec, batch), batch, [200, 150, 100], SCHEDULE) < 1e-6


def test_a_tiny_student_learns_to_take_two_steps_in_one(data, teacher, tmp_path):
    folder = distill(
        settings(teacher, stages=(1,), steps=25, learning_rate=5e-3, ema_decay=0.5), data, tmp_path / "run"
    )
    card = load_model(folder, "cpu").card
    assert card.spec.name == "tiny-live" and card.sampler == lf.SamplerSpec("ddim", 1, 1, 1, 1.0)
    for quality in ("draft", "standard", "paper"):  # it knows no other steps
        assert card.sampler_for(lf.SamplerSpec(quality)) == card.sampler
    from LeFusionLib.models.checkpoint import load_denoiser, read_card

    before, after = (load_denoiser(f, read_card(f)) for f in (teacher, folder))
    batch, times = batch_of(data, card.spec), time_grid(300, 2)
    with torch.no_grad():
        learned = halving_loss(after, before, batch, times, SCHEDULE)
        assert learned < 0.8 * halving_loss(before, before, batch, times, SCHEDULE)


def test_a_stopped_run_goes_on_to_the_same_weights(data, teacher, tmp_path, monkeypatch):
    asked = settings(teacher, steps=4, save_every=2)
    whole = distill(asked, data, tmp_path / "whole")

    class Stopped(BatchMaker):
        def draw(self, step):
            if step == 7:  # in the second stage, after its save at two steps
                raise KeyboardInterrupt
            return super().draw(step)

    with monkeypatch.context() as patched:
        patched.setitem(distilling.TASKS, "texture", replace(distilling.TASKS["texture"], maker=Stopped))
        with pytest.raises(KeyboardInterrupt):
            distill(asked, data, tmp_path / "halted")
    resumed = distill(asked, data, tmp_path / "halted")
    for student in ("model-2", "model-1"):  # of each stage
        weights, again = (run.parent / student / "weights.safetensors" for run in (whole, resumed))
        assert weights.read_bytes() == again.read_bytes()
    assert resumed.name == "model-1" and load_model(resumed.parent / "model-2", "cpu").card.sampler.num_steps == 2
    with pytest.raises(LeFusionError, match="other settings"):
        distill(settings(teacher, steps=5), data, tmp_path / "halted")


def test_what_cannot_be_distilled_is_refused(tiny_model, tmp_path, data):
    noised = tiny_model(context="noised")
    folder = save_model(tmp_path / "noised", noised.denoiser, noised.card)
    with pytest.raises(LeFusionError, match="background clean; 'tiny' is not"):
        distill(settings(folder), data, tmp_path / "run")
    for stages in ((8, 4, 3), (), (1, 2)):
        with pytest.raises(LeFusionError, match="half the steps"):
            DistillSettings("lung-nodule", stages)
    with pytest.raises(LeFusionError, match="Did you mean 'lung-nodule-live'"):
        distillation("lung-nodule-life")
    assert distillation("lung-nodule-live", steps=7, seed=None).steps == 7


def test_a_model_of_shapes_has_a_student_too(tiny_spec, data, tmp_path):
    """It is shown its sphere and told its size; all of its patch counts."""
    mask = MaskSpec(sphere_voxels=9.0, ratings=("sphericity",))
    spec = tiny_spec(kind="mask", patch_shapes=((12, 12, 12),), spacing_mm=None, prediction="velocity", mask=mask)
    torch.manual_seed(0)
    folder = save_model(tmp_path / "teacher", Denoiser(spec), ModelCard(spec, lf.SamplerSpec("ddim", 4, 1, 1, 1.0)))
    batch = ShapeBatchMaker(read_shapes(data, spec), spec, 2, null_share=0.5, seed=0).draw(0)
    known = Known(spec, batch)
    assert halving_loss(known, known, batch, [299, 149, -1], SCHEDULE) < 1e-6
    student = load_model(distill(settings(folder, steps=2, null_share=0.5), data, tmp_path / "run"), "cpu")
    sphere = lf.ControlSphere((0, 0, 0), 12)
    drawn = diffuse_shape(
        student.denoiser, SCHEDULE, sphere, mask.frame(sphere, (12, 12, 12), None), student.card.sampler, seed=0
    )
    assert drawn.shape == (1, 12, 12, 12) and np.isfinite(drawn).all() and student.card.sampler.num_steps == 1
