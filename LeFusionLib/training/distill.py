"""A student that needs half the steps of its teacher, and of that another (progressive distillation, Salimans & Ho
2022, Algorithm 2), taught where it is used: tissue inside the lesion with the background shown clean, shapes in all of
their patch.

A stage halves the grid: one step of the student shall land where two of the teacher's do. The next stage's teacher is
the averaged student. Each stage leaves a model of the same network that is sampled with its few steps, `NAME-live`.
"""

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..diffusion import (
    DiffusionSchedule,
    cosine_schedule,
    ddim_step,
    lesion_focused_loss,
    predict_x_start,
    q_sample,
    time_grid,
    velocity,
)
from ..errors import LeFusionError
from ..models.card import ModelCard, bundled_models, read_card
from ..models.checkpoint import load_denoiser, save_model
from ..models.denoiser import Denoiser
from ..models.sampler_spec import QUALITIES, SamplerSpec
from .batches import Batch
from .distill_settings import DistillSettings
from .shape_batches import ShapeBatch
from .tasks import TASKS
from .train import patient_hash

logger = logging.getLogger(__name__)


def distill(settings: DistillSettings, data: Path, run: Path, device: str | torch.device = "cpu") -> Path:
    """Run again to resume. The student of each stage is kept in `run/model-STEPS`; returns the folder of the last."""
    folder = bundled_models().get(settings.teacher, Path(settings.teacher))
    card = read_card(folder)
    if card.spec.kind == "texture" and card.spec.context != "clean":
        raise LeFusionError(f"Few steps need a model that is shown the background clean; '{card.spec.name}' is not.")
    _keep(settings, run)
    device = torch.device(device)
    held_out = card.training.get("held_out_patients_sha256", ())
    task = TASKS[card.spec.kind]
    cases = [case for case in task.read(data, card.spec) if patient_hash(case.patient) not in held_out]
    maker = task.maker(cases, card.spec, settings.batch_size, settings.null_share, settings.seed)
    schedule = cosine_schedule(card.spec.timesteps)

    teacher, student, averaged = (load_denoiser(folder, card).to(device) for _ in range(3))
    mean = AveragedModel(averaged, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
    first, done = _resume(run, teacher, student, mean)
    for stage in range(first, len(settings.stages)):
        optimizer = torch.optim.AdamW(student.parameters(), lr=settings.learning_rate, weight_decay=0.0)
        if done:
            optimizer.load_state_dict(torch.load(run / "checkpoint.pt", weights_only=True)["optimizer"])
        grid = time_grid(card.spec.timesteps, 2 * settings.stages[stage])
        teacher.eval().requires_grad_(False)
        seen = []
        for step in range(done, settings.steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (1 - step / settings.steps)
            number = stage * settings.steps + step
            batch = maker.draw(number).to(device)
            place = 2 * int(torch.randint(settings.stages[stage], (), generator=torch.Generator().manual_seed(number)))
            loss = halving_loss(student, teacher, batch, grid[place : place + 3], schedule)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            mean.update_parameters(student)
            seen.append(loss.item())
            if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
                logger.info("%d steps, %d: loss %.4g", settings.stages[stage], step + 1, sum(seen) / len(seen))
                seen = []
                _save(run, stage, step + 1, teacher, student, mean, optimizer)
        teacher.load_state_dict(mean.module.state_dict())  # and the next student starts from it too
        student.load_state_dict(mean.module.state_dict())
        done = 0
        _export(run, settings, settings.stages[stage], card, teacher)
        _save(run, stage + 1, 0, teacher, student, mean, None)
    return run / f"model-{settings.stages[-1]}"


def halving_loss(
    student: Denoiser, teacher: Denoiser, batch: Batch | ShapeBatch, times: list[int], schedule: DiffusionSchedule
) -> Tensor:
    """How far the student's step from `times`[0] to `times`[2] is from the teacher's two over `times`[1], as a
    distance of what the network puts out, where the batch says it counts."""
    t, middle, end = times
    a_t, a_end = schedule.alpha_bar(t), schedule.alpha_bar(end)
    x_t = q_sample(batch.x_start, a_t, batch.noise)
    shown = batch.shown(student.spec)

    def ask(denoiser: Denoiser, x: Tensor, time: int, as_noise: bool = True) -> Tensor:
        return denoiser(x, torch.full_like(batch.t, time), **shown, as_noise=as_noise)

    with torch.no_grad():
        x = x_t
        for now, then in ((t, middle), (middle, end)):
            x_start = predict_x_start(x, schedule.alpha_bar(now), ask(teacher, x, now))
            x = ddim_step(x, x_start, (), now, then, schedule, torch.zeros(()))
        # The clean patch with which one DDIM step lands on x (Salimans & Ho 2022, Algorithm 2 and Appendix G).
        share = ((1 - a_end) / (1 - a_t)) ** 0.5
        clean = (x - share * x_t) / (a_end**0.5 - share * a_t**0.5)
        noise = (x_t - a_t**0.5 * clean) / (1 - a_t) ** 0.5
        target = velocity(clean, a_t, noise) if student.spec.prediction == "velocity" else noise
    made = ask(student, x_t, t, as_noise=False)
    return lesion_focused_loss(target, made, batch.counts(), "l2", "per_lesion")


def _keep(settings: DistillSettings, run: Path) -> None:
    """Write the settings beside the run; refuse to resume with others."""
    run.mkdir(parents=True, exist_ok=True)
    file, now = run / "settings.json", json.loads(json.dumps(settings.to_dict()))
    if file.exists() and json.loads(file.read_text()) != now:
        raise LeFusionError(f"The run in {run.name} was started with other settings. Choose a new folder with --run.")
    file.write_text(json.dumps(now, indent=2))


def _resume(run: Path, teacher: Denoiser, student: Denoiser, mean: AveragedModel) -> tuple[int, int]:
    """Stage and step to go on from."""
    file = run / "checkpoint.pt"
    if not file.exists():
        return 0, 0
    state = torch.load(file, map_location="cpu", weights_only=True)
    for name, module in (("teacher", teacher), ("student", student), ("mean", mean)):
        module.load_state_dict(state[name])
    logger.info("resumed at stage %d, step %d", state["stage"] + 1, state["step"])
    return state["stage"], state["step"]


def _save(
    run: Path,
    stage: int,
    step: int,
    teacher: Denoiser,
    student: Denoiser,
    mean: AveragedModel,
    optimizer: torch.optim.Optimizer | None,
) -> None:
    state = {"stage": stage, "step": step} | {
        name: module.state_dict() for name, module in (("teacher", teacher), ("student", student), ("mean", mean))
    }
    if optimizer is not None:
        state["optimizer"] = optimizer.state_dict()
    torch.save(state, run / "checkpoint.tmp")
    os.replace(run / "checkpoint.tmp", run / "checkpoint.pt")


def _export(run: Path, settings: DistillSettings, steps: int, card: ModelCard, student: Denoiser) -> None:
    few = SamplerSpec("ddim", steps, 1, 1, 1.0)
    made = replace(
        card,
        spec=replace(card.spec, name=f"{card.spec.name}-live"),
        sampler=few,
        qualities=dict.fromkeys(QUALITIES, few),  # it knows no other steps
        description=f"{card.description}; distilled to {steps} steps",
        training={**card.training, "distilled": settings.to_dict(), "teacher_sha256": card.sha256},
    )
    save_model(run / f"model-{steps}", student, made)
