"""The training run: resumable, on one processor or many (Hugging Face accelerate)."""

import csv
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..diffusion import cosine_schedule
from ..errors import LeFusionError
from ..models.checkpoint import ModelCard, save_model
from ..models.denoiser import Denoiser
from ..models.spec import ModelSpec
from .cases import Case, split_by_patient
from .objective import batch_loss
from .settings import TrainSettings
from .tasks import TASKS

logger = logging.getLogger(__name__)


def train(settings: TrainSettings, data: Path, run: Path, mixed_precision: str = "no") -> Path:
    """Train as `settings` say on the cases under `data`; everything is kept in the folder `run`.

    Run again to resume: step n draws the same batch whenever it comes. Returns the folder of the averaged model,
    `run/model`, which `load_model` opens.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision=mixed_precision)
    _keep_settings(settings, run)
    task = TASKS[settings.spec.kind]
    cases = task.read(data, settings.spec)
    training, held_out = split_by_patient(cases, settings.validation_share, settings.seed, settings.held_out)
    # Every process draws its own batches; together they are one large batch.
    seed = settings.seed + 1_000_003 * accelerator.process_index
    maker = task.maker(training, settings.spec, settings.batch_size, settings.null_share, seed)

    torch.manual_seed(settings.seed)
    model = Denoiser(settings.spec)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    model, optimizer = accelerator.prepare(model, optimizer)
    averaged.to(accelerator.device)
    smoothed = cast(Denoiser, averaged.module)
    step = _resume(run, accelerator.unwrap_model(model), averaged, optimizer)
    validation = task.validation(held_out, settings, run)
    schedule = cosine_schedule(settings.spec.timesteps)

    started, seen = time.monotonic(), []
    while step < settings.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        loss = batch_loss(model, maker.draw(step).to(accelerator.device), schedule, settings)
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), settings.grad_clip)
        optimizer.step()
        averaged.update_parameters(accelerator.unwrap_model(model))
        step += 1
        seen.append(loss.item())
        if accelerator.is_main_process and (step % settings.save_every == 0 or step == settings.steps):
            mean = sum(seen) / len(seen)
            seconds = (time.monotonic() - started) / len(seen)
            _log(run, step, {"loss": mean, "lr": learning_rate(settings, step - 1), "seconds_per_step": seconds})
            _save(run, step, accelerator.unwrap_model(model), averaged, optimizer)
            if step % settings.validate_every == 0 or step == settings.steps:
                _log(run, step, validation.measure(smoothed, schedule, step))
            started, seen = time.monotonic(), []
    return _export(run, settings, smoothed, training, held_out, step)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The learning rate of step `step`."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.lr_schedule == "constant":
        return settings.learning_rate
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def _keep_settings(settings: TrainSettings, run: Path) -> None:
    """Write the settings beside the run; refuse to resume with others, save for the number of steps."""
    file = run / "settings.json"
    now = json.loads(json.dumps(settings.to_dict()))
    if file.exists():
        before = json.loads(file.read_text())
        # What a setting did before it was there is what it does where it is not given.
        before = now | before | {"spec": json.loads(json.dumps(ModelSpec.from_dict(before["spec"]).to_dict()))}
        for name in ("modality", "mask_model"):  # what the model is for
            before["spec"][name] = now["spec"][name]
        free = ("steps", "textures", "sampler", "licence", "description")  # change nothing in what is learned
        changed = [key for key in now if key not in free and now[key] != before[key]]
        if changed:
            raise LeFusionError(
                f"The run in {run.name} was started with other settings ({', '.join(changed)}). "
                "Resume with the same, or choose a new folder with --run."
            )
    run.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(now, indent=2))


def _resume(run: Path, model: Denoiser, averaged: AveragedModel, optimizer: torch.optim.Optimizer) -> int:
    file = run / "checkpoint.pt"
    if not file.exists():
        return 0
    state = torch.load(file, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    logger.info("resumed at step %d", state["step"])
    return state["step"]


def _save(run: Path, step: int, model: Denoiser, averaged: AveragedModel, optimizer: torch.optim.Optimizer) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, run / "checkpoint.tmp")
    os.replace(run / "checkpoint.tmp", run / "checkpoint.pt")


def _log(run: Path, step: int, values: dict[str, float]) -> None:
    """One line per value in log.csv (step, name, value), and the same for TensorBoard where it is installed."""
    file = run / "log.csv"
    fresh = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.writer(stream)
        if fresh:
            writer.writerow(("step", "name", "value"))
        writer.writerows((step, name, f"{value:.6g}") for name, value in values.items())
    logger.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return
    with SummaryWriter(str(run / "tensorboard")) as writer:
        for name, value in values.items():
            writer.add_scalar(name, value, step)


def _export(
    run: Path,
    settings: TrainSettings,
    denoiser: Denoiser,
    training: Sequence[Case],
    held_out: Sequence[Case],
    step: int,
) -> Path:
    spec = settings.spec
    unwritten = ("spec", "textures", "sampler", "licence", "description")
    card = ModelCard(
        spec=spec,
        sampler=settings.sampler,
        textures=TASKS[spec.kind].textures(training, settings),
        licence=settings.licence,
        description=settings.description,
        training={
            "steps": step,
            "cases": len(training),
            "patients": len({case.patient for case in training}),
            # Hashed: a name in a user's file may be a person's.
            "held_out_patients_sha256": sorted({patient_hash(case.patient) for case in held_out}),
            "settings": {k: v for k, v in settings.to_dict().items() if k not in unwritten},
        },
    )
    return save_model(run / "model", denoiser, card)


def patient_hash(patient: str) -> str:
    """What stands for a patient in a model's card: the first 16 digits of the name's SHA-256."""
    return hashlib.sha256(patient.encode()).hexdigest()[:16]
