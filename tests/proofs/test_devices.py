"""One run and many seeds on eight virtual devices: the same figures as on one, and when devices communicate."""

import json
import subprocess
import sys

import pytest
from programs import ROOT

pytestmark = pytest.mark.slow  # half a minute of compilation


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    command = [sys.executable, "-m", "tests.proofs.eight_devices", str(tmp_path_factory.mktemp("checkpoints"))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_fifty_steps_on_eight_devices_agree_with_one(found):
    assert found["devices"] == 8
    assert found["moved"] > 0.1  # so that the tolerances mean something
    assert found["difference"] < 1e-5  # SGD; sums over the batch in another order
    assert found["muon"] < 0.02  # its orthogonalization amplifies the differences


def test_metrics_on_eight_devices_are_of_the_whole_batch(found):
    one, eight = found["metrics"]
    assert eight == pytest.approx(one, rel=1e-5)
    assert eight[0] == 640


def test_a_checkpoint_of_eight_devices_goes_on_with_one_and_the_reverse(found):
    assert found["resumed"].keys() == {"on one", "on eight"}
    assert max(found["resumed"].values()) < 1e-5


def test_devices_that_share_a_batch_only_sum_over_it(found):
    assert found["communication"].pop("all-reduce") > 0
    assert not any(found["communication"].values())


def test_seeds_spread_over_devices_never_communicate(found):
    assert not any(found["communication_of_seeds"].values())


def test_a_step_of_spread_seeds_is_each_seeds_own(found):
    assert len(found["seeds"]) == 16  # of a plain network, and of one with batch norms and dropout
    assert max(found["seeds"]) < 1e-5
    assert found["other_seed"] > 0.01


def test_batch_norms_and_dropout_are_of_the_whole_batch(found):
    assert found["normed"] < 1e-4  # twenty steps, one device and eight; statistics and masks included


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do(found):
    assert found["refusals"] == [
        "",
        "training.batch_size: expected 63 or 66, for 3 devices, found 64",
        "devices: expected at most the 8 that JAX finds, found 9",
    ]
