"""Tissue is made inside the mask only; every draw and every evaluation comes when it should."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from LeFusionLib.diffusion import (
    CORRECTIONS,
    STEPS,
    cosine_schedule,
    ddpm_step,
    evaluations,
    inpaint,
    repaint_times,
    seeded_noise,
)
from LeFusionLib.errors import Cancelled

SHAPE = (1, 1, 2, 4, 4)
SCHEDULE = cosine_schedule(20)


def predicts_zero(x_t, t, condition):
    return torch.zeros_like(x_t)


def one_voxel_mask():
    mask = torch.zeros(SHAPE)
    mask[0, 0, 1, 2, 3] = 1
    return mask


@settings(max_examples=30)
@given(
    batch=st.integers(1, 2),
    classes=st.integers(1, 3),
    method=st.sampled_from(sorted(STEPS)),
    seed=st.integers(0, 2**32),
    share=st.floats(0, 1),
)
def test_outside_the_union_of_the_classes_the_background_is_bit_identical(batch, classes, method, seed, share):
    dice = torch.Generator().manual_seed(seed)
    shape = (batch, classes, 3, 4, 5)
    background = torch.rand(shape, generator=dice) * 2 - 1
    mask = (torch.rand(shape, generator=dice) < share).float()
    made = inpaint(
        lambda x, t, c: torch.randn(shape, generator=dice), background, mask, repaint_times(20, 3, 2), SCHEDULE,
        condition=None, noise=seeded_noise(seed), step=STEPS[method], correct=CORRECTIONS.get(method),
    )  # fmt: skip
    outside = ~mask.bool().any(dim=1, keepdim=True).expand(shape)
    assert made.shape == background.shape and made.isfinite().all()
    assert torch.equal(made[outside], background[outside])
    if share > 0:
        inside = ~outside
        assert not inside.any() or (made[inside] != background[inside]).any()


def test_noise_is_drawn_for_the_start_the_background_the_step_and_each_renoising_in_this_order():
    """Draw n is the constant n, so that the network's input shows which draw went where."""
    times = [2, 1, 2, 1, 0, -1]
    seen, shapes = [], []

    def noise(shape):
        shapes.append(shape)
        return torch.full(shape, float(len(shapes) - 1))

    def denoiser(x_t, t, condition):
        seen.append((t.tolist(), x_t[0, 0, 0, 0, 0].item(), x_t[0, 0, 1, 2, 3].item()))
        return torch.zeros_like(x_t)

    background = torch.full(SHAPE, 0.25)
    inpaint(denoiser, background, one_voxel_mask(), times, SCHEDULE, condition=None, noise=noise)
    # start 0 | t=2: background 1, step 2 | up: 3 | t=2: 4, 5 | t=1: 6, 7 | t=0: 8, 9
    assert shapes == [SHAPE] * 10
    assert [t for t, _, _ in seen] == [[2], [2], [1], [0]]
    for (t,), outside, _ in seen:
        a = SCHEDULE.alpha_bar(t)
        draw = {0: 8, 1: 6}.get(t, 1 if outside < 3 * (1 - a) ** 0.5 else 4)
        assert outside == pytest.approx(a**0.5 * 0.25 + (1 - a) ** 0.5 * draw, rel=1e-5)

    def down(x, t, draw):
        x_start = torch.tensor(x / SCHEDULE.alpha_bar(t) ** 0.5).clamp(-1, 1)
        return ddpm_step(torch.tensor(x), x_start, (), t, t - 1, SCHEDULE, torch.tensor(float(draw))).item()

    beta = SCHEDULE.betas[2].item()
    inside = [0.0]
    inside.append((1 - beta) ** 0.5 * down(inside[0], 2, 2) + beta**0.5 * 3)
    inside.append(down(inside[1], 2, 5))
    inside.append(down(inside[2], 1, 7))
    assert [value for _, _, value in seen] == pytest.approx(inside, rel=1e-4, abs=1e-6)


def test_a_step_is_shown_the_one_before_but_never_across_a_renoising():
    """A multistep solver (dpm++, unipc) draws a line through its last two looks; a jump lies between them no longer."""
    seen = []

    def step(x_t, x_start, before, t, t_next, schedule, noise):
        seen.append((t, [look.t for look in before]))
        return x_start

    inpaint(
        predicts_zero, torch.zeros(SHAPE), one_voxel_mask(), [2, 1, 0, 1, 2, 1, 0, -1], SCHEDULE,
        condition=None, noise=seeded_noise(0), step=step,
    )  # fmt: skip
    assert seen == [(2, []), (1, [2]), (2, []), (1, [2]), (0, [2, 1])]


def test_the_condition_and_one_time_per_row_reach_the_network():
    condition, seen = torch.rand(2, 16), []

    def denoiser(x_t, t, c):
        seen.append((x_t.shape, t.shape, t.dtype, c))
        return x_t * 0

    shape = (2, *SHAPE[1:])
    inpaint(
        denoiser, torch.zeros(shape), torch.ones(shape), [0, -1], SCHEDULE, condition=condition, noise=seeded_noise(0)
    )
    assert seen[0][:3] == (shape, (2,), torch.int64) and seen[0][3] is condition


def test_progress_counts_every_evaluation_and_none_else():
    times, told, calls = repaint_times(20, 4, 3), [], []

    def denoiser(x_t, t, condition):
        calls.append(int(t[0]))
        return x_t * 0

    inpaint(
        denoiser, torch.zeros(SHAPE), one_voxel_mask(), times, SCHEDULE,
        condition=None, noise=seeded_noise(0), progress=lambda *args: told.append(args),
    )  # fmt: skip
    total = evaluations(times)
    assert len(calls) == total
    assert [(step, of) for step, of, _ in told] == [(n, total) for n in range(1, total + 1)]
    assert all(isinstance(message, str) and message for _, _, message in told)
    assert calls == [t for t, after in pairwise(times) if after < t]


@pytest.mark.parametrize("after", [0, 1, 7])
def test_cancelling_stops_before_the_next_evaluation(after):
    calls = []

    def denoiser(x_t, t, condition):
        calls.append(1)
        return x_t * 0

    with pytest.raises(Cancelled, match=f"after {after} of 20"):
        inpaint(
            denoiser, torch.zeros(SHAPE), one_voxel_mask(), repaint_times(20), SCHEDULE,
            condition=None, noise=seeded_noise(0), cancel=lambda: len(calls) >= after,
        )  # fmt: skip
    assert len(calls) == after


def test_the_same_noise_makes_the_same_tissue_and_other_noise_other_tissue():
    background, mask = torch.rand(SHAPE), torch.ones(SHAPE)
    made = [
        inpaint(predicts_zero, background, mask, repaint_times(20), SCHEDULE, condition=None, noise=seeded_noise(s))
        for s in (1, 1, 2)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_inputs_are_left_as_they_were():
    background, mask = torch.rand(SHAPE), one_voxel_mask()
    before = background.clone(), mask.clone()
    inpaint(predicts_zero, background, mask, repaint_times(20), SCHEDULE, condition=None, noise=seeded_noise(0))
    assert torch.equal(background, before[0]) and torch.equal(mask, before[1])


def test_a_row_is_the_same_alone_and_in_a_batch():
    shape = (2, *SHAPE[1:])
    background, mask = torch.rand(shape), (torch.rand(shape) > 0.5).float()

    def run(rows, seeds):
        noise = seeded_noise(seeds)
        times = repaint_times(20, 2, 2)
        return inpaint(predicts_zero, background[rows], mask[rows], times, SCHEDULE, condition=None, noise=noise)

    assert torch.equal(run([0, 1], [3, 4])[1], run([1], [4])[0])


# The published sampler, replayed with its recorded noise.


class Replay:
    """A recorded run: (part of) its evaluations, from its start image or from one of its recorded states."""

    def __init__(self, arrays, released, kind):
        self.arrays, self.kind = arrays, kind
        self.snap_index = arrays["snap_index"].tolist()
        self.snaps = arrays["snaps"]
        self.noises = arrays["noise"]
        if kind == "diffmask":
            self.net = released("ckpt_loop_diffmask_small")
            self.times = repaint_times(int(arrays["timesteps"]))
            self.condition = torch.from_numpy(arrays["sphere"])
            self.mask = torch.ones(self.snaps.shape[1:])
            self.background = torch.zeros(self.snaps.shape[1:])
        else:
            self.net = released(f"ckpt_repaint_{kind}_small")
            jumps = int(arrays["jump_length"]), int(arrays["jump_n_sample"])
            self.times = repaint_times(int(arrays["t_T"]), *jumps)
            self.condition = torch.from_numpy(arrays["cond"])
            label = torch.from_numpy(arrays["mask"])
            self.mask = label if kind == "lidc" else torch.cat([label == 3, label == 4], dim=1).float()
            self.background = torch.from_numpy(arrays["gt"])

    def draws(self):
        """How many recorded draws each pair of times takes; the plain loop of the mask model has no background's."""
        down = 1 if self.kind == "diffmask" else 2
        return [down if after < t else 1 for t, after in pairwise(self.times)]

    def run(self, first=0, last=None):
        """Evaluations after snapshot `first` - 1 (0: from the start image) to snapshot `last`, the states compared."""
        falls = [n for n, (t, after) in enumerate(pairwise(self.times)) if after < t]
        begin = 0 if first == 0 else falls[self.snap_index[first - 1]] + 1
        end = falls[self.snap_index[-1 if last is None else last]] + 2
        used = 1 + sum(self.draws()[:begin])
        start = self.noises[0] if first == 0 else self.snaps[first - 1]
        queue = [torch.from_numpy(start.astype(np.float32))]
        rest = iter(self.noises[used:])

        def noise(shape):
            if queue:
                return queue.pop()
            if self.kind == "diffmask" and noise.background_next:
                noise.background_next = False
                return torch.zeros(shape)  # shown nowhere: the mask is everywhere
            noise.background_next = True
            return torch.from_numpy(next(rest).astype(np.float32))

        noise.background_next = True
        states = []

        def step(*args):
            states.append(ddpm_step(*args))
            return states[-1]

        times = self.times[begin:end]
        made = inpaint(
            self.net, self.background, self.mask, times, self.net.schedule,
            condition=self.condition, noise=noise, step=step,
        )  # fmt: skip
        before = -1 if first == 0 else self.snap_index[first - 1]
        for number, index in enumerate(self.snap_index):
            if before < index <= before + len(states):
                tolerance = 20 * max(self.arrays["snap_err32"][number], 1e-5)
                difference = np.abs(states[index - before - 1].numpy() - self.snaps[number]).max()
                assert difference <= tolerance, f"state after evaluation {index}"
        return made, len(list(rest))

    def check_final(self, made):
        """Inside the lesion the published result; outside exactly the background, which the published code loses."""
        final = self.arrays["final_f64"]
        inside = self.mask.amax(dim=1, keepdim=True) > 0
        outside = ~inside.expand_as(made)
        assert torch.equal(made[outside], self.background[outside])
        merged = torch.where(self.mask[:, 1:] > 0, made[:, 1:], made[:, :1]) if made.shape[1] == 2 else made
        assert np.abs(merged.numpy() - final)[inside.numpy()].max() <= 1e-4


KINDS = ["lidc", "emidec", "diffmask"]


@pytest.fixture(scope="module", params=KINDS)
def replay(request, golden_arrays, released):
    kind = request.param
    name = "golden_loop_diffmask_small" if kind == "diffmask" else f"golden_repaint_{kind}_small"
    return Replay(golden_arrays(name), released, kind)


def test_the_first_recorded_evaluations_are_replayed(replay):
    replay.run(last=1)


def test_the_last_recorded_evaluations_are_replayed_to_the_result(replay):
    made, unused = replay.run(first=len(replay.snap_index) - 1)
    assert unused == 0
    replay.check_final(made)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_recorded_run_is_replayed(replay):
    assert len(replay.noises) == 1 + sum(replay.draws())
    made, unused = replay.run()
    assert unused == 0
    replay.check_final(made)
