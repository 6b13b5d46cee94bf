"""The training loop that all programs share: each calls `train` and chooses where it stops."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from mnistsum.config import Config
from mnistsum.devices import replicated_sharding
from mnistsum.models import Model
from mnistsum.seeds import compile_advance_seeds, devices_for, init_seeds, unstack
from mnistsum.train import Recipe, compile_advance, init_state, make_recipe, split_keys
from mnistsum.types import Split, TrainState

MIN_TIMED = 0.3  # seconds of training needed to estimate a run's duration
MIN_STEPS = 4  # between stops: each call of the program allocates memory, which costs `reference` a quarter of a step


class Chunk(NamedTuple):
    """The steps that one call of the compiled program takes, and where training stands after them."""

    state: TrainState  # stacked if several seeds share the program
    seeds: int
    step: int
    steps: int  # in this chunk; 0: none was taken yet
    seconds: float  # taken by these steps, without compilation
    signal: int = 0  # that has arrived; 0: none

    def states(self) -> list[TrainState]:
        """Return the state of each seed; with several seeds, without the optimizer's state."""
        return [self.state] if self.seeds == 1 else unstack(self.state._replace(opt_state=None), self.seeds)

    def is_timing(self, total: int) -> bool:
        """Return whether a duration can be estimated from this chunk; the first step is slower and does not count."""
        return (self.seconds > MIN_TIMED and self.step > 1) or self.step == total


# Maps the last chunk to the next step to stop at. A value past the last step means the last step; the current step ends
# the run.
Pace = Callable[[Chunk], int]


def about_every(seconds: float) -> Pace:
    """Stop after the first step, and then about every `seconds` seconds of training."""

    def pace(chunk: Chunk) -> int:
        if not chunk.steps:
            return chunk.step + 1
        steps = min(8 * chunk.steps, round(seconds * chunk.steps / chunk.seconds))
        return chunk.step + max(MIN_STEPS, steps)

    return pace


def every(steps: int) -> Pace:
    """Stop every `steps` steps."""
    return lambda chunk: (chunk.step // steps + 1) * steps


def compile_program(config: Config, n: int, seeds: int = 1) -> Any:
    """Return what `train` runs, compiled for `seeds` seeds and `n` images, and cache it for all seeds."""
    return _compiled(make_recipe(config, n), n, seeds)


@functools.lru_cache(maxsize=1)
def _compiled(recipe: Recipe, n: int, seeds: int) -> Any:
    return compile_advance(recipe, n) if seeds == 1 else compile_advance_seeds(recipe, n, seeds)


def in_background(function: Callable[..., Any], *arguments: Any) -> Future:
    """Start a call in another thread, so that XLA compiles while Python prints and reads files."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)  # accept no more calls
    return future


def first_state(recipe: Recipe, seed: int, model: Model | None = None) -> TrainState:
    """Return a seed's state before the first step, with the given model or else the one that the seed draws."""
    return jax.jit(init_state, static_argnums=0)(recipe, split_keys(seed), model)


def train(
    config: Config,
    seeds: Sequence[int],
    data: Split,
    pace: Pace,
    *,
    program: Future | None = None,
    state: TrainState | None = None,
    caught: Sequence[int] = (),
) -> Iterator[Chunk]:
    """Train one seed, or several as one program, to the end of the run; yield each chunk, which ends where `pace` says.

    Args:
        config: its seed is ignored.
        seeds: each trains the same run as it would alone (except for the rounding of a vmapped program).
        data: the training images.
        pace: when to stop.
        program: a future of `compile_program`, if it was started in the background.
        state: of a single seed, to resume from; None: start before the first step.
        caught: a list that receives a signal's number when it arrives.
    """
    recipe = make_recipe(config, len(data.labels))
    step = 0 if state is None else int(state.step)
    keys, current, placed = _place_on_devices(recipe, seeds, data, state)  # while the program is compiled
    compiled = program.result() if program else compile_program(config, len(data.labels), len(seeds))
    chunk = Chunk(current, len(seeds), step, 0, 0.0)
    while chunk.step < recipe.steps:
        until = min(pace(chunk), recipe.steps)
        if until == chunk.step:
            return
        start = time.perf_counter()
        current = jax.block_until_ready(compiled(keys, current, placed, np.int32(until)))
        seconds = time.perf_counter() - start
        chunk = Chunk(current, len(seeds), until, until - chunk.step, seconds, caught[0] if caught else 0)
        yield chunk


def describe_mode(seeds: int) -> str:
    """Describe how `seeds` seeds are trained."""
    if seeds == 1:
        return "seeds one by one"
    devices = devices_for(seeds)
    return f"{seeds} seeds as one vmapped program, on {devices} device{'s' if devices > 1 else ''}"


def _place_on_devices(recipe: Recipe, seeds: Sequence[int], data: Split, state: TrainState | None) -> Any:
    """Return keys, state and data, placed on the devices in use."""
    if len(seeds) > 1:
        return init_seeds(recipe, seeds, data)
    keys = split_keys(seeds[0])
    if state is None:
        state = first_state(recipe, seeds[0])
    return jax.device_put((keys, state, data), replicated_sharding(recipe.devices))
