"""The one training loop: every program trains through `train`, and says when it wants to stop."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from mnistsum.config import Config
from mnistsum.devices import local, put_on_each
from mnistsum.models import Model
from mnistsum.seeds import compile_advance_seeds, devices_for, init_seeds, unstack
from mnistsum.train import Recipe, compile_advance, init_state, make_recipe, split_keys
from mnistsum.types import Split, TrainState

MIN_TIMED = 0.3  # seconds of training that a run's duration is estimated from
MIN_STEPS = 4  # between two stops: each call of the program costs `reference` a quarter of a step, for fresh memory


class Stop(NamedTuple):
    """Where training stands, between two calls of the compiled program."""

    state: TrainState  # this process's copy; stacked where several seeds share the program
    seeds: int
    step: int
    steps: int  # since the last stop
    seconds: float  # that they took, compilation not included
    signal: int = 0  # that a process of the run was sent; 0: none

    def states(self) -> list[TrainState]:
        """Return the state of each seed; of several, without what their optimizer keeps."""
        return [self.state] if self.seeds == 1 else unstack(self.state._replace(opt_state=None), self.seeds)

    def is_timing(self, total: int) -> bool:
        """Return whether a duration can be told from this stop: not from the first step, which is slower."""
        return (self.seconds > MIN_TIMED and self.step > 1) or self.step == total


# The next step to stop at, given the last stop: a step past the run's end stands for its end, and the step where it
# stands for an end there.
Pace = Callable[[Stop], int]


def about_every(seconds: float) -> Pace:
    """Stop after the first step, and then about every `seconds` seconds of training."""

    def pace(stop: Stop) -> int:
        if not stop.steps:
            return stop.step + 1
        steps = min(8 * stop.steps, round(seconds * stop.steps / stop.seconds))
        return stop.step + max(MIN_STEPS, steps)

    return pace


def every(steps: int) -> Pace:
    """Stop every `steps` steps."""
    return lambda stop: (stop.step // steps + 1) * steps


def compile_program(config: Config, n: int, seeds: int = 1) -> Any:
    """Return what `train` runs, compiled for `seeds` seeds and `n` images; kept, as all seeds share it."""
    return _compiled(make_recipe(config, n), n, seeds)


@functools.lru_cache(maxsize=1)
def _compiled(recipe: Recipe, n: int, seeds: int) -> Any:
    return compile_advance(recipe, n) if seeds == 1 else compile_advance_seeds(recipe, n, seeds)


def in_background(function: Callable[..., Any], *arguments: Any) -> Future:
    """Begin a call that goes on beside this thread: XLA compiles while Python prints and reads files."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)  # takes no more calls
    return future


def first_state(recipe: Recipe, seed: int, model: Model | None = None) -> TrainState:
    """Return the state of a seed before its first step, of a model that is given or else is the seed's own."""
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
) -> Iterator[Stop]:
    """Train one seed, or several as one program, to the end of the run; yield wherever `pace` stops.

    Args:
        config: whose seed is not read.
        seeds: each gives its own run, as it would alone (but for the rounding of a vmapped program).
        data: the training images.
        pace: when to stop. All processes of a run stop at the steps of the first one, and hear of the same signal.
        program: what `compile_program` will give, where it was begun in the background.
        state: of a single seed, to go on from; none: before the first step.
        caught: a list that a signal's number is put into when it comes.
    """
    recipe = make_recipe(config, len(data.labels))
    step = 0 if state is None else int(state.step)
    keys, current, placed = _place(recipe, seeds, data, state)  # while the program is compiled
    compiled = program.result() if program else compile_program(config, len(data.labels), len(seeds))
    multihost_utils.sync_global_devices("compiled")  # before a clock runs
    stop = Stop(current, len(seeds), step, 0, 0.0)
    while stop.step < recipe.steps:
        until = int(_of_all_processes(min(pace(stop), recipe.steps))[0])
        if until == stop.step:
            return
        start = time.perf_counter()
        current = jax.block_until_ready(compiled(keys, current, placed, np.int32(until)))
        seconds = time.perf_counter() - start
        sent = int(_of_all_processes(caught[0] if caught else 0).max())
        mine = local(current) if len(seeds) == 1 else current
        stop = Stop(mine, len(seeds), until, until - stop.step, seconds, sent)
        yield stop


def describe_mode(seeds: int) -> str:
    """Return in words how `seeds` seeds are trained."""
    return (
        "seeds one by one" if seeds == 1 else f"{seeds} seeds as one vmapped program, on {devices_for(seeds)} devices"
    )


def _place(recipe: Recipe, seeds: Sequence[int], data: Split, state: TrainState | None) -> Any:
    """Keys, state and data on the devices that compute."""
    if len(seeds) > 1:
        return init_seeds(recipe, seeds, data)
    keys = split_keys(seeds[0])
    if state is None:
        state = first_state(recipe, seeds[0])
    return put_on_each(recipe.devices, (keys, state, data))


def _of_all_processes(value: int) -> np.ndarray:
    """Return the value of each process of the run."""
    try:
        return multihost_utils.process_allgather(np.array(value)).reshape(-1)
    except ValueError as error:  # as Gloo's errors come, where a process is lost
        raise jax.errors.JaxRuntimeError(str(error)) from error
