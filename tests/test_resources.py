"""What a machine cannot do is reported before anything is trained or written."""

import shutil
from collections import namedtuple

import pytest

from experiments.training import resources
from mnistsum.config import Config, ModelConfig, TrainingConfig
from mnistsum.errors import InputError


def test_a_network_larger_than_the_memory_is_refused_before_it_is_built():
    large = Config(model=ModelConfig(classifier="mlp", widths=(10**6, 10**6)))
    with pytest.raises(InputError, match=r"model: training base takes [\d,.]+ GB at least, but this machine has"):
        resources.check([large], 55_000)
    resources.check([Config()], 55_000)


def test_more_steps_than_can_be_counted_are_refused():
    long = Config(training=TrainingConfig(epochs=1e6, batch_size=1))
    with pytest.raises(InputError, match=r"training.epochs: expected 2,147,483,647 steps at most, found 55,"):
        resources.check([long], 55_000)


def test_a_full_disk_and_a_folder_that_cannot_be_made_are_named(tmp_path, monkeypatch):
    resources.check_folder(tmp_path / "new" / "runs", 1_000_000)
    assert list((tmp_path / "new" / "runs").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/runs: could not be written: Not a directory"):
        resources.check_folder(tmp_path / "file" / "runs", 1_000_000)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1_000_000))
    with pytest.raises(OSError, match=r"runs: its disk has 0.00 GB left, and a run takes 0.01"):
        resources.check_folder(tmp_path / "runs", 6_000_000)
    resources.check_folder(tmp_path / "runs", resources.storage(Config(), 10_000))  # 108,165 parameters
