"""Runs that begin from given weights: used bit for bit, refused if they do not fit, exact under resume."""

import dataclasses
import json
import shutil
import signal

import jax
import numpy as np
import pytest
from programs import bits, finish, start, write_set

from experiments.training import initial_weights, loop
from experiments.training.record import differences, make_record, mark
from mnistsum import weights
from mnistsum.errors import InputError
from mnistsum.models import build
from mnistsum.train import init_state, split_keys
from mnistsum.types import Data, Split


@pytest.fixture
def file(config, tmp_path):
    path = tmp_path / "weights.safetensors"
    weights.save(path, config, build(config.model, jax.random.key(7)), "a test")
    return path


def arrays(model) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(model)]


def test_a_run_begins_with_the_bits_of_the_weights_however_it_trains_and_computes(config, recipe, file):
    given = arrays(weights.load(file)[1])
    model = dataclasses.replace(config.model, dtype="bfloat16", adder_gradient=False)
    loaded = initial_weights.load(dataclasses.replace(config, model=model), str(file))
    recipe = dataclasses.replace(recipe, model=model)
    state = loop.first_state(recipe, 0, loaded)
    assert arrays(state.model) == arrays(state.average) == given
    seeded = jax.eval_shape(lambda: init_state(recipe, split_keys(0)))
    assert jax.tree.structure(state) == jax.tree.structure(seeded)  # so that the same program accepts it


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"hidden": 8}, "expected model.hidden to be 8, found 16; add model.hidden=16"),
        ({"widths": (9, 8)}, r"expected model.widths to be \(9, 8\), found \(8,\); add model.widths=8 "),
        ({"adder_input": "probabilities"}, "expected model.adder_input to be 'probabilities', found 'logits'"),
        ({"classifier": "lenet5", "widths": ()}, "expected model.classifier to be 'lenet5', found 'mlp'"),
    ],
)
def test_another_architecture_is_refused_by_its_first_difference_with_the_remedy(config, file, change, answer):
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **change))
    with pytest.raises(InputError, match=f"^--init {file}: of another architecture: {answer}"):
        initial_weights.load(config, str(file))


def test_the_weights_are_part_of_what_decides_a_run(config, mnist):
    few = Data(*(Split(*(part[:10] for part in split)) for split in mnist))
    seeded, given, other = (make_record(config, few, init=init) for init in (None, "a" * 64, "b" * 64))
    assert differences(given, other) == [f"init was {'a' * 64}, is {'b' * 64}"]
    assert len({mark(config, record) for record in (seeded, given, other)}) == 3


@pytest.mark.slow
def test_a_run_from_given_weights_resumes_with_the_same_bits_and_without_them(tmp_path):
    data = write_set(tmp_path, train=576, test=64)
    own = ["data.name=custom", f"data.dir={data}", "data.validation=64", "training.batch_size=64"]
    first, whole, stopped = tmp_path / "first", tmp_path / "whole", tmp_path / "stopped"
    finish(start("--config", "smoke", *own, "--output", first))
    tuned = ["--config", "smoke", *own, "training.epochs=12", "--init"]
    finish(start(*tuned, first, "--output", whole))
    shutil.copy(first / "weights.safetensors", tmp_path / "moved.safetensors")
    process = start(*tuned, tmp_path / "moved.safetensors", "--output", stopped)
    assert process.stdout is not None
    line = " "
    while line and not line.startswith("begins from the weights of"):  # signals are caught by now
        line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    finish(process, status=128 + signal.SIGTERM)
    (tmp_path / "moved.safetensors").unlink()
    finish(start("--resume", stopped))
    assert bits(stopped) == bits(whole)
    records = [json.loads((run / "run.json").read_text()) for run in (stopped, whole)]
    assert records[0]["settings"] == records[1]["settings"]
    # The seed cannot restore them.
    (whole / "summary.json").unlink()
    shutil.rmtree(whole / "checkpoints")
    assert "start a new run with --init" in finish(start("--resume", whole), status=2)[1]
