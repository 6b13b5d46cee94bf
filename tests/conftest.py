"""Fixtures that tests share: real images, a small config, a browser."""

import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from unittest.mock import Mock

# before JAX is imported: the tests' tolerances are for CPUs
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

from mnistsum.app import program
from mnistsum.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from mnistsum.data import load
from mnistsum.registry import added_names
from mnistsum.train import Spec, make_spec
from mnistsum.types import Data, Split

# Programs that tests start heed Ctrl-C and a hang-up, even if the tests run in the
# background or under nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Most of the suite's time is compilation, of programs that then run for milliseconds.
# Only this process compiles so: the programs that tests start are optimized like a
# user's.
jax.config.update("jax_disable_most_optimizations", True)
# so that no shape fits by accident
jax.config.update("jax_numpy_rank_promotion", "raise")
with pytest.MonkeyPatch.context() as patch:
    # XLA's fusion emitters take half as long again; later releases have only them
    if jax.__version_info__ < (0, 11):
        patch.setenv(
            "XLA_FLAGS",
            f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false",
        )
    jax.devices()  # reads the flags, once


@pytest.fixture(scope="session")
def mnist() -> Data:
    return load(DataConfig())


@pytest.fixture(scope="session")
def train(mnist) -> Split:
    """The first 256 training images, on the device."""
    return jax.device_put(Split(mnist.train.images[:256], mnist.train.labels[:256]))


@pytest.fixture
def run_program(capsys, monkeypatch) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a program here, and returns its status and errors."""
    # A program changes these for its whole process.
    for module, name in (
        (gc, "set_threshold"),
        (gc, "freeze"),
        (warnings, "showwarning"),
    ):
        monkeypatch.setattr(module, name, Mock())

    def run(command: Callable[[list[str]], int], *arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            program.run(command, list(map(str, arguments)))
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, capsys.readouterr().err

    return run


@pytest.fixture(scope="session")
def spec(config) -> Spec:
    """The config's spec on `train`."""
    return make_spec(config, 256)


@pytest.fixture(scope="session")
def config() -> Config:
    """A config with eight steps per epoch on `train`, and all of the state in use."""
    return Config(
        augment=AugmentConfig(shift=2, rotation=10.0),
        model=ModelConfig(classifier="mlp", widths=(8,), hidden=16),
        optimizer=OptimizerConfig(average=0.9, clip_norm=1.0),
        training=TrainingConfig(epochs=3.0, batch_size=32),
    )


@pytest.fixture
def own_code(monkeypatch) -> Iterator[None]:
    """Forget, after the test, what users' files define, and where they import from."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    with added_names():
        yield


@pytest.fixture(params=[1280, 390])
def browser(request):
    """Headless Chromium, as wide as on a desktop or a phone; pages log no error."""
    reason = "the extra `browser` is not installed"
    webdriver = pytest.importorskip("selenium.webdriver", reason=reason)
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.add_argument("--window-size=1280,900")
    if request.param < 500:  # a window cannot be so narrow
        phone = {"deviceMetrics": {"width": request.param, "height": 844}}
        options.add_experimental_option("mobileEmulation", phone)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    with webdriver.Chrome(options=options, service=service) as browser:
        yield browser
        assert browser.get_log("browser") == []
