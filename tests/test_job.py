"""What a run is made of: its record, the weights that it begins from, and the contract that its network keeps."""

import json
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from programs import ROOT

from experiments.configs.base import config as base
from experiments.configs.smoke import config as smoke
from experiments.training import job
from experiments.training.job import check_own, describe_run, differences, identify, prepare
from mnistsum.config import override
from mnistsum.errors import InputError
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.objective import weighted
from mnistsum.own import added_names, digest_code
from mnistsum.predict import load_pretrained


@pytest.fixture(scope="module")
def prepared(mnist) -> job.Job:
    return prepare(smoke, "a test", mnist)


def test_all_but_seed_and_devices_identify_a_job(prepared):
    train = prepared.data.train
    with_other_labels = prepared.data._replace(train=train._replace(labels=np.roll(train.labels, 1)))
    other = prepared._replace(record=job.make_record(with_other_labels))
    assert identify(other) != identify(prepared)
    assert differences(other.record, prepared.record) == ["the train images have changed"]
    same = prepared._replace(config=override(smoke, ["seed=3", "devices=1"]))
    assert identify(same) == identify(prepared)


def test_run_json_holds_the_record_the_command_and_the_machine(prepared):
    run = describe_run(prepared, "seeds one by one")
    assert prepared.record.items() <= run.items()
    assert {"mnistsum/train.py", "mnistsum/models/layers.py", "experiments/training/loop.py"} <= run["code"].keys()
    assert run["versions"].keys() == {"jax", "jaxlib", "flax", "optax", "numpy"}
    assert (run["command"], run["parameters"], run["multiply_adds"]) == ("a test", 30_589, 30_400)
    assert run["cores"] == job.cores() > 0
    assert run["settings"]["hardware"] not in ("", "cpu")


OWN = """
import importlib.util
import optax
from flax import nnx
from pathlib import Path
import mnistsum
from mnistsum.models.classifiers.mlp import MLP
import helper

class Mine(MLP):
    def __init__(self, config, rngs):
        import when_built
        super().__init__(config, rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, image):
        if self.drop.deterministic:  # not in training
            import when_called
        return super().__call__(image)

def signs(config, rate):
    import when_optimized
    return optax.sign_sgd(rate)

spec = importlib.util.spec_from_file_location("by_path", Path(__file__).parent / "deeper" / "helper.py")
by_path = importlib.util.module_from_spec(spec)
spec.loader.exec_module(by_path)

CLASSIFIERS = {"mine": Mine}
OPTIMIZERS = {"signs": signs}
model, rule = mnistsum.ModelConfig(classifier="mine"), mnistsum.OptimizerConfig(name="signs")
config = mnistsum.Config(name="own", model=model, optimizer=rule)
"""
PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
from experiments import cli
from experiments.configs.smoke import config as smoke
from experiments.training.job import identify, prepare, seconds_since_start
from mnistsum.types import Data, Split
split = Split(np.zeros((128, 28, 28, 1), np.uint8), np.zeros(128, np.int32))
data = Data(split, split, split)
before = identify(prepare(smoke, "", data))
config = cli.load_config(sys.argv[1])
file = Path(sys.argv[1])
for each in (file, file.parent / "helper.py", file.parent / "deeper" / "helper.py"):
    each.write_text("edited = True")
own, shipped = prepare(config, "", data), prepare(smoke, "", data)
print(json.dumps([own.record["code"], before != identify(shipped), seconds_since_start(), time.time()]))
"""


def test_the_record_of_each_run_holds_the_code_that_a_users_file_has_executed_however_it_was_imported(tmp_path):
    """Edited once they are loaded, files stay in the record as they were executed."""
    modules = dict.fromkeys(("helper", "when_built", "when_called", "when_optimized", "by_path"), "")
    sources = {"own.py": OWN} | {f"{name}.py": f"NAME = {name!r}\n" for name in modules if name != "by_path"}
    sources["deeper/helper.py"] = "NAME = 'by_path'\n"
    (tmp_path / "deeper").mkdir()
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    began = time.time()
    command = [sys.executable, "-c", PROGRAM, tmp_path / "own.py"]
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "JAX_PLATFORMS": "cpu", "PATH": ""}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100).stdout
    code, is_in_shipped, seconds, printed = json.loads(output)
    users = {name: digest for name, digest in code.items() if not name.startswith(("mnistsum/", "experiments/"))}
    expected = {name: digest_code(f"NAME = {name!r}\n".encode()) for name in modules}
    assert users == {"own.py": digest_code(OWN.encode()), **expected}
    assert is_in_shipped  # a user's file may patch what a shipped network uses
    assert (printed - began) / 2 < seconds < printed - began + 0.1  # mostly of imports, before a program's first line


def test_weights_to_begin_from_have_the_meaning_of_the_config_and_are_in_the_record(mnist):
    initial = prepare(base, "", mnist, init="base")
    expected = load_pretrained("base").model
    for ours, theirs in zip(*map(jax.tree.leaves, (initial.initial, expected)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert identify(initial) != identify(prepare(base, "", mnist))
    for change, found in (
        ("data.scaling=unit", "standard"),
        ("model.adder=direct", "concat"),
        ("model.hidden=9", "128"),
    ):
        field, _, value = change.partition("=")
        with pytest.raises(InputError, match=rf"base: expected {field} to be {value}, found {found}; add {field}="):
            prepare(override(base, [change]), "", mnist, init="base")


class Unused(MLP):
    def __init__(self, config, rngs):
        super().__init__(config, rngs)
        self.unused = nnx.Param(jnp.ones(3))


class Fixed(MLP):
    def __init__(self, config, rngs):
        super().__init__(config, rngs)
        self.table = nnx.Param(jnp.arange(3.0))


class Centered(MLP):
    def __call__(self, image):
        return super().__call__(image - image.mean(0, keepdims=True))


class Asserting(MLP):
    def __call__(self, image):
        assert len(image) > 10**6, "mine"
        return super().__call__(image)


class Listed(MLP):
    def __init__(self, config, rngs):
        super().__init__(config, rngs)
        self.blocks = [nnx.Param(1)]


@pytest.fixture
def tiny():
    """A config by the name of a classifier in this file, or of what else is its user's."""
    mine = {"unused": Unused, "centered": Centered, "asserting": Asserting, "listed": Listed, "fixed": Fixed}
    objectives = {"blind": lambda config, logits, batch: weighted(type(config)(), logits, batch)}
    with added_names(CLASSIFIERS=mine, OBJECTIVES=objectives):
        yield lambda *changes: override(smoke, ["model.widths=8", "model.hidden=16", *changes])


def test_a_warning_names_a_parameter_that_no_gradient_reaches_and_the_faulty_jaxlib(tiny, monkeypatch):
    monkeypatch.setattr(job, "version", lambda _: "0.10.2")
    counted = []
    monkeypatch.setattr(job, "count_multiply_adds", counted.append)  # warns of a while_loop
    checked, unreached, faulty = check_own(tiny("model.classifier=unused"))
    assert checked == "smoke: checked shapes, independence, digit_ignores_number, keys, objective"
    assert unreached == "warning: smoke: no gradient reaches classifier.unused"
    assert faulty.startswith("warning: jaxlib 0.10.2 miscompiles")
    assert counted


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("model.classifier=centered", "depends on"),
        ("model.classifier=fixed", "table: two keys"),
        ("objective.name=blind", "ignores held_out=3"),
    ],
)
def test_a_network_or_objective_that_breaks_the_contract_is_refused(tiny, change, answer):
    with pytest.raises(InputError, match=rf"^smoke: .*{answer}.* \(mnistsum.testing.check shows where\)$"):
        check_own(tiny(change, "objective.held_out=3"))


@pytest.mark.parametrize(
    ("name", "error", "message"), [("asserting", AssertionError, "mine"), ("listed", ValueError, "nnx.List")]
)
def test_an_error_of_the_users_or_of_flax_is_raised_as_it_is(tiny, name, error, message):
    with pytest.raises(error, match=message):
        check_own(tiny(f"model.classifier={name}"))
