"""When a run ends, and with which weights: patience, the best epoch, more epochs; each is exact under resume."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import bits, finish, start, write_set

from experiments import run_folder
from experiments.run import command
from experiments.training.plan import COMPARED, RUN
from experiments.training.record import make_record
from experiments.training.runs import describe_run, train_runs
from experiments.training.seed_run import SeedRun
from mnistsum import checkpoint, weights
from mnistsum.config import AugmentConfig, ObjectiveConfig, OptimizerConfig, TrainingConfig, to_json
from mnistsum.evaluation import evaluate
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.objective import held_out_cells
from mnistsum.registry import CLASSIFIERS
from mnistsum.train import init_state, make_recipe, split_keys
from mnistsum.types import QUANTITIES, Data, FirstBad, Split

EPOCH = 8  # steps


@pytest.fixture(scope="module")
def impatient(config):
    """At most twelve epochs, at a learning rate that makes accuracy fluctuate."""
    return dataclasses.replace(
        config,
        augment=AugmentConfig(),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.05, momentum=0.9, schedule="constant"),
        training=TrainingConfig(epochs=12.0, batch_size=32, patience=2, keep="best"),
    )


@pytest.fixture(scope="module")
def few(mnist) -> Data:
    return Data(*(Split(*(part[:n] for part in split)) for split, n in zip(mnist, (256, 64, 64), strict=True)))


class ByDeviation(MLP):
    """Divides each image by its deviation, which is 0 if it is all black."""

    def __call__(self, image):
        return super().__call__(image / image.std((1, 2, 3), keepdims=True))


def begin(config, data, folder: Path) -> Path:
    run_folder.begin(folder, config, describe_run(config, make_record(config, data), "a test"))
    return folder


def train(config, data, folder: Path, kill_at: int | None = None) -> None:
    """Train a run, from its checkpoint if there is one, to its end or until it is killed at a step."""
    begun = {}
    if checkpoint.steps(folder / "checkpoints"):
        restored = checkpoint.restore(folder / "checkpoints", config)
        run_folder.write_lines(folder, restored.kept["lines"])
        begun = {"state": restored.state, "best": restored.best}
    for progress in train_runs(config, {0: folder}, data, RUN, **begun):
        if progress.chunk and progress.chunk.step == kill_at:
            return


@pytest.mark.slow
def test_checkpoints_are_also_saved_within_an_epoch(config, few, tmp_path):
    folder = begin(config, few, tmp_path / "run")
    often = dataclasses.replace(RUN, pause=1e-9, save_every=1e-9)
    saved = set()
    for _ in train_runs(config, {0: folder}, few, often):
        saved.update(checkpoint.steps(folder / "checkpoints"))
    assert any(step % EPOCH for step in saved)


@pytest.fixture(scope="module")
def whole(impatient, few, tmp_path_factory) -> Path:
    """An undisturbed run."""
    folder = begin(impatient, few, tmp_path_factory.mktemp("ends") / "whole")
    train(impatient, few, folder)
    return folder


def test_training_ends_patience_after_the_best_epoch_and_its_weights_are_kept(whole, impatient, few):
    lines, summary = run_folder.read_lines(whole), run_folder.read_summary(whole)
    sums = [line["validation"]["sum_accuracy"] for line in lines]
    best = int(np.argmax(sums)) + 1
    assert summary["ended"] == {"epoch": best + 2, "best": best, "kept": best}
    assert len(lines) == best + 2 < 12  # otherwise, the test shows nothing
    assert summary["validation"]["sum_accuracy"] == max(sums) > sums[-1]
    model = weights.load(whole).model
    read = evaluate(impatient.data, model, few.test)
    assert (read.sum == np.load(whole / "predictions.npz")["sum"]).all()
    last = checkpoint.restore(whole / "checkpoints", impatient).state.model
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(last), strict=True))


@pytest.mark.parametrize("before", ["the best", "the end", "the summary"])
def test_a_run_killed_anywhere_ends_with_the_same_bits(whole, impatient, few, tmp_path, before):
    best = int(run_folder.read_summary(whole)["ended"]["best"])
    epoch = {"the best": best - 1, "the end": best + 1, "the summary": best + 2}[before]
    folder = begin(impatient, few, tmp_path / "run")
    train(impatient, few, folder, kill_at=epoch * EPOCH)
    assert not (folder / "summary.json").exists()
    train(impatient, few, folder)
    assert bits(folder) == bits(whole)


@pytest.mark.slow
def test_each_seed_of_a_shared_program_ends_by_its_own_patience(impatient, few, tmp_path):
    folders = {seed: begin(impatient, few, tmp_path / str(seed)) for seed in range(4)}
    for _ in train_runs(impatient, folders, few, COMPARED):
        pass
    ends = set()
    for folder in folders.values():
        lines, summary = run_folder.read_lines(folder), run_folder.read_summary(folder)
        sums = [line["validation"]["sum_accuracy"] for line in lines if line["step"] % EPOCH == 0]
        best = int(np.argmax(sums)) + 1
        assert summary["ended"] == {"epoch": min(best + 2, 12), "best": best, "kept": best}
        assert lines[-1]["epoch"] == summary["ended"]["epoch"]
        assert summary["train_seconds"] == lines[-1]["clock"]["train_seconds"]  # without the seeds that go on
        assert summary["validation"]["sum_accuracy"] == max(sums)
        ends.add(lines[-1]["epoch"])
    assert len(ends) > 1


def test_a_network_that_is_finite_in_training_alone_has_failed(impatient, few, tmp_path, monkeypatch):
    images = few.test.images.copy()
    images[0] = 0
    odd = few._replace(test=few.test._replace(images=images))
    monkeypatch.setitem(CLASSIFIERS._added, "by_deviation", ByDeviation)
    monkeypatch.setitem(CLASSIFIERS._sources, "by_deviation", __file__)
    config = dataclasses.replace(impatient, model=dataclasses.replace(impatient.model, classifier="by_deviation"))
    train(config, odd, begin(config, odd, tmp_path))
    summary = run_folder.read_summary(tmp_path)
    assert (summary["failure"], summary["calibration"]) == ("loss not finite on held-out images", None)


def test_more_epochs_are_refused_where_the_rate_has_fallen_to_0(config, run_program, tmp_path):
    (tmp_path / "config.json").write_text(to_json(config))
    status, stderr = run_program(command, "--resume", tmp_path, "training.epochs=9")
    assert status == 2
    assert f"falls to 0 over the 3 epochs of {tmp_path}, so it cannot go on" in stderr
    assert f"--init {tmp_path}" in stderr


def test_more_epochs_are_refused_where_the_pressure_has_fallen_to_1(config, run_program, tmp_path):
    constant = dataclasses.replace(config.optimizer, schedule="constant")
    by_rank = dataclasses.replace(config.training, pressure=20.0)
    (tmp_path / "config.json").write_text(to_json(dataclasses.replace(config, optimizer=constant, training=by_rank)))
    status, stderr = run_program(command, "--resume", tmp_path, "training.epochs=9")
    assert status == 2
    assert f"training.pressure=20 falls to 1 over the 3 epochs of {tmp_path}, so it cannot go on" in stderr


def test_a_finished_run_without_checkpoints_is_left_as_it_is(whole, run_program, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(command, "--resume", "run", "training.epochs=20")
    assert status == 2
    assert (
        "run: finished, and without checkpoints to go on from; start a new run from its weights: --init run" in stderr
    )
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_a_finished_run_that_is_given_more_epochs_ends_as_if_it_had_had_them(tmp_path):
    data = write_set(tmp_path, train=576, test=64)
    own = ["data.name=custom", f"data.dir={data}", "data.validation=64", "training.batch_size=64"]
    line = ["--config", "smoke", *own, "optimizer.schedule=constant", "training.keep=best"]
    finish(start(*line, "training.epochs=4", "--output", tmp_path / "long"))
    finish(start(*line, "training.epochs=2", "--output", tmp_path / "short"))
    shutil.copytree(tmp_path / "short", tmp_path / "killed")
    finish(start("--resume", tmp_path / "short", "training.epochs=4"))
    assert bits(tmp_path / "short") == bits(tmp_path / "long")
    assert json.loads((tmp_path / "short" / "run.json").read_text())["command"].endswith("training.epochs=4")
    # Killed as soon as it is extended, it stays so.
    shorter = run_folder.read_config(tmp_path / "killed")
    longer = dataclasses.replace(shorter, training=dataclasses.replace(shorter.training, epochs=4.0))
    run_folder.reopen(tmp_path / "killed", longer, run_folder.read_json(tmp_path / "killed" / "run.json"))
    finish(start("--resume", tmp_path / "killed"))
    assert bits(tmp_path / "killed") == bits(tmp_path / "long")


def test_the_best_epoch_is_judged_by_what_is_trained(impatient, tmp_path):
    lines = [
        {"step": EPOCH * i, "validation": {"digit_accuracy": digit, "sum_accuracy": total}}
        for i, (digit, total) in enumerate([(0.7, 0.2), (0.9, 0.1), (0.8, 0.3)], 1)
    ]
    for weight, best in ((0.5, 3), (0.0, 3), (1.0, 2)):
        config = dataclasses.replace(impatient, objective=ObjectiveConfig(digit_weight=weight))
        run_folder.write_lines(tmp_path, lines)
        seed = SeedRun(config, make_recipe(config, 256), tmp_path, None)
        assert seed.best_line()["step"] == best * EPOCH


def test_held_out_pairs_do_not_judge_an_epoch(impatient, few, tmp_path):
    config = dataclasses.replace(impatient, objective=ObjectiveConfig(held_out=3))
    run_folder.write_lines(tmp_path, [])
    seed = SeedRun(config, make_recipe(config, 256), tmp_path, None)
    seed.state = jax.jit(init_state, static_argnums=0)(seed.recipe, split_keys(0))
    step = jnp.int32(EPOCH)
    seed.state = seed.state._replace(step=step, metrics=seed.state.metrics._replace(examples=step))
    seed.log_metrics(few, {})
    (line,) = seed.lines
    right = np.asarray(seed.held_out.sum) == few.validation.labels[:, None] + np.arange(10)
    cells = [right[few.validation.labels == label].mean(0) for label in range(10)]
    trained = np.array(cells)[~held_out_cells(config.objective)]
    assert run_folder.judged_accuracy(line["validation"], "sum") == pytest.approx(trained.mean(), abs=1e-6)
    assert run_folder.judged_accuracy(line["validation"], "digit") == line["validation"]["digit_accuracy"]
    # The third epoch is better only in pairs that are not trained.
    accuracies = [(0.3, 0.5), (0.4, 0.6), (0.5, 0.5)]
    seed.lines = [
        {"step": EPOCH * i, "validation": {"sum_accuracy": total, "sum_accuracy_trained_cells": trained}}
        for i, (total, trained) in enumerate(accuracies, 1)
    ]
    assert seed.best_line()["step"] == 2 * EPOCH


@pytest.mark.parametrize(
    ("step", "quantity", "remedy"),
    [
        (0, "loss", "nothing had been updated"),
        (0, "gradient", "nothing had been updated"),
        (0, "parameters", "a lower optimizer.learning_rate"),
        (7, "loss", "a lower optimizer.learning_rate"),
    ],
)
def test_a_number_that_is_not_finite_is_reported_with_a_remedy(impatient, tmp_path, step, quantity, remedy):
    run_folder.write_lines(tmp_path, [])
    recipe = make_recipe(impatient, 256)
    bad = FirstBad(jnp.int32(step), jnp.int32(QUANTITIES.index(quantity)))
    state = jax.jit(init_state, static_argnums=0)(recipe, split_keys(0))._replace(first_bad=bad)
    with pytest.raises(FloatingPointError, match=f"{quantity} not finite at step {step + 1}; .*{remedy}"):
        SeedRun(impatient, recipe, tmp_path, None).store_state(state, RUN)
