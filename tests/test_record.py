"""What a run is made of: its record, its first weights, a network that is checked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.configs.base import config as base
from experiments.configs.smoke import config as smoke
from experiments.studies.written_sums.objectives import OBJECTIVES as WRITTEN_SUMS
from experiments.training import record
from experiments.training.record import (
    check_own,
    describe_run,
    differences,
    identify,
    prepare,
)
from mnistsum.config import override
from mnistsum.errors import InputError
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.models.layers import Dense
from mnistsum.objective import weighted
from mnistsum.predict import load_pretrained
from mnistsum.registry import added_names, load_file


@pytest.fixture(scope="module")
def prepared(mnist):
    return prepare(smoke, "a test", mnist)


def test_all_but_the_seed_identifies_an_experiment(prepared):
    train = prepared.data.train
    with_other_labels = prepared.data._replace(
        train=train._replace(labels=np.roll(train.labels, 1))
    )
    other = prepare(smoke, "a test", with_other_labels)
    assert identify(other.config, other.record) != identify(
        prepared.config, prepared.record
    )
    assert differences(other.record, prepared.record) == [
        "the train images have changed"
    ]
    same = prepare(override(smoke, ["seed=3"]), "a test", prepared)
    assert identify(same.config, same.record) == identify(
        prepared.config, prepared.record
    )


def test_run_json_holds_the_record_the_command_and_the_machine(prepared):
    run = describe_run(prepared)
    assert prepared.record.items() <= run.items()
    assert run["program"].keys() == {"initialization", "training", "evaluation"}
    assert run["versions"].keys() == {
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "numpy",
        "results",
    }
    assert run["command"] == "a test"
    assert run["parameters"] == 30_589
    assert run["multiply_adds"] == 30_400
    assert run["cores"] == record.cores() > 0
    assert run["settings"]["hardware"] not in ("", "cpu")


OWN = """
from pathlib import Path
import numpy as np
import optax
import mnistsum
from mnistsum.models.classifiers.mlp import MLP
from helper_of_mine import scaled

MASK = np.loadtxt(Path(__file__).with_name("mask.txt"), dtype=np.float32)

class Mine(MLP):
    def __call__(self, image):
        features, digit = super().__call__(image)
        return features, scaled(digit) * MASK[None]

CLASSIFIERS = {"mine": Mine}
OPTIMIZERS = {"signs": lambda config, rate: optax.sign_sgd(rate)}
model = mnistsum.ModelConfig(classifier="mine", widths=(8,))
rule = mnistsum.OptimizerConfig(name="signs")
config = mnistsum.Config(name="own", model=model, optimizer=rule)
"""
FILES = {
    "own.py": OWN,
    "helper_of_mine.py": "def scaled(digit):\n    return 2 * digit",
    "mask.txt": "1 " * 10,
    "patch.py": "from mnistsum.models.layers import Dense\n",
}
FORWARD = {"training", "evaluation"}
# file, old and new text, and the parts of the program of `own.py` that change
EDITS = (
    (
        "own.py",
        "features, digit = super()",
        '"""Return both."""\n        features, digit = super()',
        set(),
    ),
    ("own.py", "scaled(digit) *", "scaled(digit) + ", FORWARD),
    ("own.py", "sign_sgd(rate)", "sgd(rate)", {"training"}),
    ("helper_of_mine.py", "2 *", "3 *", FORWARD),
    ("mask.txt", "1 1", "0 1", FORWARD),
    ("own.py", "MASK = ", "MASK = np.random.rand(10) + ", FORWARD),
    ("own.py", "", "", FORWARD),  # other random numbers
)


@pytest.mark.slow
def test_an_edit_changes_only_the_programs_that_it_touches(
    own_code, tmp_path, prepared, monkeypatch
):
    monkeypatch.setattr(Dense, "__call__", Dense.__call__)  # restores it
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def program(shipped=None):
        with added_names():  # as in a new process
            load_file(tmp_path / "patch.py")
            config = shipped or load_file(tmp_path / "own.py").config
            return prepare(config, "", prepared).record["program"]

    def changed(before, after):
        return {part for part in before if before[part] != after[part]}

    before = program()
    for name, old, new, parts in EDITS:
        (tmp_path / name).write_text((tmp_path / name).read_text().replace(old, new, 1))
        after = program()
        assert changed(before, after) == parts, new
        before = after
    assert not changed(prepared.record["program"], program(smoke))
    patch = "call = Dense.__call__\nDense.__call__ = lambda *both: 2 * call(*both)"
    (tmp_path / "patch.py").write_text(FILES["patch.py"] + patch)
    assert changed(prepared.record["program"], program(smoke)) == FORWARD


@pytest.mark.parametrize(
    "then, now, told",
    [
        ({}, "1", ""),
        ({"own.py": "1"}, "2", " (own.py was edited)"),
        ({"own.py": "1"}, "1", " (own.py was not edited: "),
    ],
)
def test_a_change_is_explained_by_the_users_file(
    prepared, monkeypatch, then, now, told
):
    monkeypatch.setattr(record.registry, "loaded_files", lambda: {"own.py": now})
    changed = prepared.record | {
        "program": prepared.record["program"] | {"training": "other"}
    }
    (line,) = differences(prepared.record | {"files": then}, changed)
    assert line.startswith(f"its program of training has changed{told}")


def test_a_call_back_into_python_is_refused(tiny, mnist):
    with pytest.raises(InputError, match=r"calls back into Python .*; remove the call"):
        prepare(tiny("model.classifier=printing"), "", mnist)


@pytest.mark.slow
def test_weights_to_begin_from_fit_the_config(
    mnist,
):
    plain = override(base, ["optimizer.name=sgd"])  # traced sooner
    initial = prepare(plain, "", mnist, init="base")
    expected = load_pretrained("base").model
    for ours, theirs in zip(
        *map(jax.tree.leaves, (initial.initial, expected)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert initial.record["settings"]["init"]
    changes = ["model.adder=direct", "model.scaling=unit"]
    needed = "model.adder=concat model.scaling=standard"
    for given, add in ((changes, needed), (["model.hidden=9"], "model.hidden=128")):
        answer = f"{' '.join(given)}, found weights of other fields; add {add}"
        with pytest.raises(InputError, match=f"^--init base: expected {answer}$"):
            prepare(override(plain, given), "", mnist, init="base")
        prepare(override(plain, [*given, *add.split()]), "", mnist, init="base")


class Unused(MLP):
    def __init__(self, config, rngs):
        super().__init__(config, rngs)
        self.unused = nnx.Param(jnp.ones(3))


class Asserting(MLP):
    def __call__(self, image):
        assert len(image) > 10**6, "mine"
        return super().__call__(image)


class Printing(MLP):
    def __call__(self, image):
        jax.debug.print("{}", image.mean())
        return super().__call__(image)


@pytest.fixture
def tiny():
    """A small config with a classifier or objective of this file."""
    mine = {
        "unused": Unused,
        "asserting": Asserting,
        "printing": Printing,
    }
    objectives = {
        "blind": lambda config, logits, batch: weighted(type(config)(), logits, batch)
    }
    with added_names(CLASSIFIERS=mine, OBJECTIVES=objectives | WRITTEN_SUMS):
        yield lambda *changes: override(
            smoke, ["model.widths=8", "model.hidden=16", *changes]
        )


SUMS = (
    "objective.name=sum_of_15_digits",
    "model.adder=shift",
    "model.zero_output=True",
)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [(), SUMS], ids=["digits", "sums of thirty images"])
def test_a_warning_names_a_parameter_that_no_gradient_reaches(tiny, changes):
    checked, unreached = check_own(tiny("model.classifier=unused", *changes))
    assert (
        checked
        == "smoke: checked shapes, independence, digit_ignores_number, keys, objective"
    )
    assert unreached == "warning: smoke: no gradient reaches classifier.unused"


def test_what_breaks_the_contract_is_refused(tiny):
    where = r"\(mnistsum.testing.check shows where\)"
    with pytest.raises(InputError, match=rf"^smoke: .*ignores held_out=3 {where}$"):
        check_own(tiny("objective.name=blind", "objective.held_out=3"))


def test_an_assertion_of_the_users_is_raised_as_it_is(tiny):
    with pytest.raises(AssertionError, match="mine"):
        check_own(tiny("model.classifier=asserting"))
