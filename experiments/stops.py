"""Training that stops about once a second, to be looked at, saved or ended, in all processes at the same steps."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from mnistsum.config import Config
from mnistsum.devices import local, put_on_each
from mnistsum.train import split_keys, steps_per_epoch, total_steps
from mnistsum.types import Split, TrainState

MEASURED = 0.3  # seconds of training that a run's duration is estimated from
FEWEST = 4  # steps between two stops: each call of the program costs `reference` a quarter of a step, for fresh memory


class Stop(NamedTuple):
    """Where a run stands."""

    state: TrainState  # this process's copy
    step: int
    steps: int  # since the last stop
    seconds: float  # spent on them, compilation not included
    ends_epoch: bool  # or the run
    signal: int  # that a process of the run was sent; 0: none


def stops(
    config: Config, compiled: Any, state: TrainState, train: Split, caught: Sequence[int] = (), pause: float = 1.0
) -> Iterator[Stop]:
    """Trains to the end of the run, and stops every `pause` seconds or `FEWEST` steps or so and after each epoch.

    `compiled` is what `compile_advance` gives. The first stop comes after one step. All processes stop at the same
    steps, and hear of the same signal.
    """
    n = len(train.labels)
    total, per_epoch = total_steps(config, n), steps_per_epoch(config, n)
    step = int(state.step)
    keys, state, train = put_on_each(config, (split_keys(config.seed), state, train))
    multihost_utils.sync_global_devices("compiled")  # before a clock runs
    chunk = 1
    while step < total:
        until = min(step + chunk, total, (step // per_epoch + 1) * per_epoch)
        start = time.perf_counter()
        state = jax.block_until_ready(compiled(keys, state, train, np.int32(until)))
        seconds = time.perf_counter() - start
        chunk = max(FEWEST, min(8 * chunk, round(pause * (until - step) / seconds)))
        plans = multihost_utils.process_allgather(np.array([chunk, caught[0] if caught else 0]))
        chunk = int(plans[0, 0])
        yield Stop(
            local(state),
            until,
            until - step,
            seconds,
            until % per_epoch == 0 or until == total,
            int(plans[:, 1].max()),
        )
        step = until


def tells_speed(stop: Stop, total: int) -> bool:
    """Whether a run's duration can be told from this stop: not from the first, which is one step and its call."""
    return (stop.seconds > MEASURED and stop.step > 1) or stop.step == total
