"""The training loop that all programs share: each calls `train` and chooses where it stops."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.training.job import Job
from mnistsum.devices import replicated_sharding
from mnistsum.models import Model
from mnistsum.seeds import compile_advance_seeds, devices_for, init_seeds, unstack
from mnistsum.train import Recipe, compile_advance, init_state, split_keys
from mnistsum.types import TrainState

MIN_TIMED = 0.3  # seconds of training needed to estimate a run's duration
MIN_STEPS = 4  # between stops: each call of the program allocates memory, which costs `reference` a quarter of a step


class Chunk(NamedTuple):
    """The steps that one call of the compiled program takes, and where training stands after them."""

    state: TrainState  # stacked if several seeds share the program
    seeds: int
    step: int
    steps: int  # in this chunk; 0: none was taken yet
    seconds: float  # taken by these steps, without compilation

    def states(self) -> list[TrainState]:
        """Return the state of each seed; with several seeds, without the optimizer's state."""
        return [self.state] if self.seeds == 1 else unstack(self.state._replace(opt_state=None), self.seeds)

    def is_timing(self, total: int) -> bool:
        """Return whether a duration can be estimated from this chunk; the first step is slower and does not count."""
        return (self.seconds > MIN_TIMED and self.step > 1) or self.step == total


# Maps the last chunk to the next step to stop at. A value past the last step means the last step; the current step ends
# the run.
NextStop = Callable[[Chunk], int]


def about_every(seconds: float) -> NextStop:
    """Stop after the first step, and then about every `seconds` seconds of training."""

    def next_stop(chunk: Chunk) -> int:
        if not chunk.steps:
            return chunk.step + 1
        steps = min(8 * chunk.steps, round(seconds * chunk.steps / chunk.seconds))
        return chunk.step + max(MIN_STEPS, steps)

    return next_stop


@functools.lru_cache(maxsize=1)
def compile_program(recipe: Recipe, n: int, seeds: int = 1) -> Future:
    """Start to compile what `train` runs for `seeds` seeds and `n` images, in another thread."""
    if seeds == 1:
        return in_background(compile_advance, recipe, n)
    return in_background(compile_advance_seeds, recipe, n, seeds)


def in_background(function: Callable[..., Any], *arguments: Any) -> Future:
    """Start a call in another thread, so that XLA compiles while Python prints and reads files."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)  # accept no more calls
    return future


def first_state(recipe: Recipe, seed: int, model: Model | None = None) -> TrainState:
    """Return a seed's state before the first step, with the given model or else the one that the seed draws."""
    return jax.jit(init_state, static_argnums=0)(recipe, split_keys(seed), model)


def train(job: Job, seeds: Sequence[int], next_stop: NextStop, state: TrainState | None = None) -> Iterator[Chunk]:
    """Train one seed, or several as one program, to the end of the run; yield each chunk, which ends at `next_stop`.

    Args:
        job: what to train.
        seeds: each trains the same run as it would alone (except for the rounding of a vmapped program).
        next_stop: when to stop.
        state: of a single seed, to begin from; None: start before the first step.
    """
    recipe, images = job.recipe, job.data.train
    program = compile_program(recipe, len(images.labels), len(seeds))
    if len(seeds) > 1:
        keys, current, placed = init_seeds(recipe, seeds, images)
    else:
        current = first_state(recipe, seeds[0], job.initial) if state is None else state
        arrays = split_keys(seeds[0]), current, images
        keys, current, placed = jax.device_put(arrays, replicated_sharding(recipe.devices))
    advance = program.result()
    step = 0 if state is None else int(state.step)
    chunk = Chunk(current, len(seeds), step, 0, 0.0)
    while chunk.step < recipe.steps:
        until = min(next_stop(chunk), recipe.steps)
        if until == chunk.step:
            return
        start = time.perf_counter()
        current = jax.block_until_ready(advance(keys, current, placed, np.int32(until)))
        chunk = Chunk(current, len(seeds), until, until - chunk.step, time.perf_counter() - start)
        yield chunk


def measure(job: Job, seconds: float) -> Chunk:
    """Return a chunk of about so many seconds, from which the duration of a run can be estimated."""
    chunks = train(job, [job.config.seed], about_every(seconds))
    return next(chunk for chunk in chunks if chunk.is_timing(job.recipe.steps))


def describe_mode(seeds: int) -> str:
    """Describe how `seeds` seeds are trained."""
    if seeds == 1:
        return "seeds one by one"
    devices = devices_for(seeds)
    return f"{seeds} seeds as one vmapped program, on {devices} device{'s' if devices > 1 else ''}"
