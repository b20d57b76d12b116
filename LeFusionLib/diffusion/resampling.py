"""The order in which the sampler visits the noise levels.

A list of times starts at T - 1 and ends at -1, the clean image. A fall is a network evaluation, a rise is a
re-noising that lets lesion and background harmonise (Lugmayr et al. 2022, Sec. 4.2).
"""

from collections.abc import Iterator, Sequence

from ..errors import LeFusionError

Level = tuple[int, int, range]  # how far to go back up, how often to pass, and the times at which to do so


def repaint_times(
    timesteps: int,
    jump_length: int = 1,
    jump_n_sample: int = 1,
    *,
    n_sample: int = 1,
    jump2_length: int = 1,
    jump2_n_sample: int = 1,
    start_resampling: int | None = None,
) -> list[int]:
    """The sequences of the published sampler: each time that is a multiple of `jump_length` is passed `jump_n_sample`
    times, going back up by `jump_length` in between.

    `jump2_*` is a second, finer rhythm inside the first, `n_sample` repeats single steps, and with `start_resampling`
    nothing is repeated above that time. The first jump comes only below T - jump_length, where the published sequences
    have it; the paper's text has it earlier, see `paper_times`.
    """
    for length, passes in ((jump_length, jump_n_sample), (jump2_length, jump2_n_sample), (1, n_sample)):
        _check(timesteps, length, passes)
    top = timesteps if start_resampling is None else min(timesteps, start_resampling + 1)
    levels = [
        (jump_length, jump_n_sample, range(0, top - jump_length, jump_length)),
        (jump2_length, jump2_n_sample, range(0, top - jump2_length, jump2_length)),
        (1, n_sample, range(0, min(timesteps - 2, top))),
    ]
    return [timesteps - 1, *_descend(timesteps - 1, -1, levels)]


def paper_times(timesteps: int, jump_length: int = 2, jump_n_sample: int = 2) -> list[int]:
    """The sequence as the paper writes it, {300, 299, 298, 299, 300, 299, 298, 297, 296, ...} (Appendix F), counted
    from 0 instead of 1: the jumps begin at the first step, every `jump_length` steps."""
    _check(timesteps, jump_length, jump_n_sample)
    stations = range((timesteps - 1) % jump_length, timesteps - jump_length, jump_length)
    return [timesteps - 1, *_descend(timesteps - 1, -1, [(jump_length, jump_n_sample, stations)])]


def time_grid(timesteps: int, num_steps: int, jump_length: int = 1, jump_n_sample: int = 1) -> list[int]:
    """`repaint_times` on a coarse grid of `num_steps` evenly spaced times, jumps counted in steps of the grid: the form
    of the repeats for solvers that take long steps. With all `timesteps` it is the published sequence."""
    if not 1 <= num_steps <= timesteps:
        raise LeFusionError(f"The sampler takes 1 to {timesteps} steps with this model; got {num_steps}.")
    stops = [round((timesteps - 1) * (i + 1) / num_steps) for i in range(num_steps)]
    if num_steps == timesteps:
        stops = list(range(timesteps))
    return [-1 if step < 0 else stops[step] for step in repaint_times(num_steps, jump_length, jump_n_sample)]


def _check(timesteps: int, jump_length: int, n_sample: int) -> None:
    if jump_length < 1 or n_sample < 1 or (n_sample > 1 and jump_length >= timesteps):
        raise LeFusionError(
            f"Resampling needs a jump length of 1 to {max(1, timesteps - 1)} and at least 1 pass; "
            f"got jump_length={jump_length}, jump_n_sample={n_sample}."
        )


def _descend(high: int, low: int, levels: Sequence[Level]) -> Iterator[int]:
    """The times after `high` down to `low`, finer levels repeating inside each stretch of the coarser ones."""
    if not levels:
        yield from range(high - 1, low - 1, -1)
        return
    (length, passes, stations), *finer = levels
    for station in reversed(stations):
        if passes > 1 and low <= station < high:
            yield from _descend(high, station, finer)
            for _ in range(passes - 1):
                yield from range(station + 1, station + length + 1)
                yield from _descend(station + length, station, finer)
            high = station
    yield from _descend(high, low, finer)
