"""The order of the noise levels: the published sequences number for number, the paper's as it is printed."""

import json
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from LeFusionLib.diffusion import evaluations, paper_times, repaint_times, time_grid
from LeFusionLib.errors import LeFusionError


@pytest.mark.parametrize("number", range(9))
def test_the_published_sequences_come_out_number_for_number(golden, number):
    rows = json.loads((golden / "golden_schedule.json").read_text())["schedule_jump"]
    assert len(rows) == 9
    row = rows[number]
    settings = {k: v for k, v in row.items() if k not in ("t_T", "n_evals", "n_undo", "length", "times")}
    times = repaint_times(row["t_T"], **settings)
    assert times == row["times"]
    assert evaluations(times) == row["n_evals"]


def test_a_short_sequence_by_hand():
    assert repaint_times(4) == [3, 2, 1, 0, -1]
    assert repaint_times(5, jump_length=2, jump_n_sample=2) == [4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0, -1]


def test_the_papers_text_comes_out_number_for_number():
    """{300, 299, 298, 299, 300, 299, 298, 297, 296, ...}, counted from 0."""
    assert [t + 1 for t in paper_times(300)[:9]] == [300, 299, 298, 299, 300, 299, 298, 297, 296]
    assert [t + 1 for t in paper_times(300)[9:15]] == [297, 298, 297, 296, 295, 294]
    assert paper_times(300)[-1] == -1


lengths, passes = st.integers(1, 12), st.integers(1, 4)


@given(timesteps=st.integers(2, 60), length=lengths, n=passes, times=st.sampled_from([repaint_times, paper_times]))
def test_every_sequence_walks_in_single_steps_from_the_noise_to_the_clean_image(timesteps, length, n, times):
    assume(n == 1 or length < timesteps)
    sequence = times(timesteps, length, n)
    assert sequence[0] == timesteps - 1 and sequence[-1] == -1
    assert set(sequence) == set(range(-1, timesteps))
    assert all(abs(a - b) == 1 for a, b in pairwise(sequence))
    assert sequence.count(-1) == 1
    down = evaluations(sequence)
    assert down - (len(sequence) - 1 - down) == timesteps  # every step up is walked down once more


@given(timesteps=st.integers(2, 300), share=st.floats(0, 1), length=lengths, n=passes)
def test_a_grid_walks_the_same_way_in_long_steps(timesteps, share, length, n):
    steps = 1 + round(share * (timesteps - 1))
    assume(n == 1 or length < steps)
    grid = time_grid(timesteps, steps, length, n)
    stops = sorted(set(grid))
    assert grid[0] == stops[-1] == timesteps - 1 and grid[-1] == stops[0] == -1
    assert len(stops) == steps + 1
    assert [stops.index(t) - 1 for t in grid] == repaint_times(steps, length, n)


def test_a_grid_with_every_step_is_the_published_sequence():
    assert time_grid(300, 300, 5, 5) == repaint_times(300, jump_length=5, jump_n_sample=5)
    assert time_grid(300, 1) == [299, -1]
    assert time_grid(300, 2) == [299, 150, -1]


@pytest.mark.parametrize("steps", [0, -1, 301])
def test_a_number_of_steps_the_model_does_not_have_is_refused(steps):
    with pytest.raises(LeFusionError, match="1 to 300 steps"):
        time_grid(300, steps)


@pytest.mark.parametrize("settings", [(10, 0, 2), (10, 2, 0), (10, 10, 2), (10, -1, 1)])
def test_jumps_that_cannot_be_are_refused(settings):
    for times in (repaint_times, paper_times):
        with pytest.raises(LeFusionError, match="jump length of 1 to 9"):
            times(*settings)
