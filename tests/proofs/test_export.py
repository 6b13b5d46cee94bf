"""Exports that are killed while they replace an older one."""

import contextlib
import os
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest
from programs import ROOT

from mnistsum import weights
from mnistsum.config import Config, ModelConfig
from mnistsum.models import build

pytestmark = pytest.mark.slow  # one process per kill
KILLS = 10


def test_a_killed_export_leaves_the_old_one_or_the_new_one_whole(tmp_path):
    runs = {}
    for seed, width in enumerate((64, 4096)):
        config = Config(name=f"w{width}", model=ModelConfig(classifier="mlp", widths=(width,)))
        folder = tmp_path / config.name
        folder.mkdir()
        weights.save(folder / weights.WEIGHTS, config, build(config.model, jax.random.key(seed)), config.name)
        runs[config] = folder
    output, random = tmp_path / "out", np.random.default_rng(0)
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.proofs.exporter", *map(str, runs.values()), str(output)],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()  # after one export, all is compiled
        began = time.monotonic()
        for _ in range(2):
            process.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):  # at any moment in the next two
            process.wait(random.uniform(0, time.monotonic() - began))
        process.kill()
        process.communicate()
        config, model, _ = weights.load(output)
        chex.assert_trees_all_equal(model, weights.load(runs[config])[1])
