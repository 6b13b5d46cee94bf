"""What a run is made of: its record, the weights that it begins from, and the contract that its network keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.configs.base import config as base
from experiments.configs.smoke import config as smoke
from experiments.training import record
from experiments.training.record import Experiment, check_own, describe_run, differences, identify, prepare
from mnistsum.config import override
from mnistsum.errors import InputError
from mnistsum.models.classifiers.mlp import MLP
from mnistsum.models.layers import Dense
from mnistsum.objective import weighted
from mnistsum.predict import load_pretrained
from mnistsum.registry import added_names, load_file


@pytest.fixture(scope="module")
def prepared(mnist) -> Experiment:
    return prepare(smoke, "a test", mnist)


def test_all_but_seed_and_devices_identify_an_experiment(prepared):
    train = prepared.data.train
    with_other_labels = prepared.data._replace(train=train._replace(labels=np.roll(train.labels, 1)))
    other = prepare(smoke, "a test", with_other_labels)
    assert identify(other.config, other.record) != identify(prepared.config, prepared.record)
    assert differences(other.record, prepared.record) == ["the train images have changed"]
    same = prepare(override(smoke, ["seed=3", "devices=1"]), "a test", prepared)
    assert identify(same.config, same.record) == identify(prepared.config, prepared.record)


def test_run_json_holds_the_record_the_command_and_the_machine(prepared):
    run = describe_run(prepared)
    assert prepared.record.items() <= run.items()
    assert run["program"].keys() == {"initialization", "training", "evaluation"}
    assert run["versions"].keys() == {"jax", "jaxlib", "flax", "optax", "numpy", "results"}
    assert (run["command"], run["parameters"], run["multiply_adds"]) == ("a test", 30_589, 30_400)
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
model, rule = mnistsum.ModelConfig(classifier="mine", widths=(8,)), mnistsum.OptimizerConfig(name="signs")
config = mnistsum.Config(name="own", model=model, optimizer=rule)
"""
FILES = {
    "own.py": OWN,
    "helper_of_mine.py": "def scaled(digit):\n    return 2 * digit",
    "mask.txt": "1 " * 10,
    "patch.py": "from mnistsum.models.layers import Dense\n",
}
PARTS = {"initialization", "training", "evaluation"}
EDITS = {  # file, old and new text, and the parts of the program of `own.py` that change
    "nothing": ("own.py", "", "", set()),
    "a comment, a name and a docstring": (
        "own.py",
        "        features, digit = super().__call__(image)\n        return features, scaled(digit) * MASK[None]",
        '        """Return both."""\n        first, second = super().__call__(image)  # both\n'
        "        return first, scaled(second) * MASK[None]",
        set(),
    ),
    "the forward pass": ("own.py", "scaled(digit) * MASK[None]", "scaled(digit)", {"training", "evaluation"}),
    "the width": ("own.py", "widths=(8,)", "widths=(9,)", PARTS),
    "the optimizer": ("own.py", "sign_sgd(rate)", "sgd(rate)", {"training"}),
    "a helper": ("helper_of_mine.py", "2 *", "3 *", {"training", "evaluation"}),
    "a file that it reads": ("mask.txt", "1 1", "0 1", {"training", "evaluation"}),
    "random numbers at import": ("own.py", "MASK = ", "MASK = np.random.rand(10) + ", {"training", "evaluation"}),
}


@pytest.fixture
def programs(own_code, tmp_path, prepared):
    """A function that returns the programs of `smoke` and of `own.py`, as they are now."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def programs():
        with added_names():  # as in a new process
            load_file(tmp_path / "patch.py")
            config = load_file(tmp_path / "own.py").config
            return [prepare(each, "", prepared).record["program"] for each in (smoke, config)]

    return programs


@pytest.mark.parametrize(
    "edit",
    [edit if "comment" in edit or "helper" in edit else pytest.param(edit, marks=pytest.mark.slow) for edit in EDITS],
)
def test_an_edit_changes_the_programs_that_it_touches_and_no_other(programs, tmp_path, prepared, edit):
    shipped, before = programs()
    assert shipped == prepared.record["program"]
    name, old, new, parts = EDITS[edit]
    (tmp_path / name).write_text((tmp_path / name).read_text().replace(old, new, 1))
    shipped, after = programs()
    assert shipped == prepared.record["program"]
    assert {part for part in PARTS if before[part] != after[part]} == parts


def test_a_file_that_patches_a_class_changes_the_program_of_whatever_uses_it(programs, tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(Dense, "__call__", Dense.__call__)  # restores it
    patch = "call = Dense.__call__\nDense.__call__ = lambda *both: 2 * call(*both)"
    (tmp_path / "patch.py").write_text(FILES["patch.py"] + patch)
    shipped, _ = programs()
    assert {part for part in PARTS if shipped[part] != prepared.record["program"][part]} == {"training", "evaluation"}


def test_a_change_is_explained_by_the_users_file(prepared):
    then, now = prepared.record | {"files": {"own.py": "1"}}, prepared.record
    changed = now | {"program": now["program"] | {"training": "other"}}
    assert differences(prepared.record, changed) == ["its program of training has changed"]
    for files, told in (
        ({"own.py": "2"}, "own.py was edited"),
        ({"own.py": "1"}, "own.py was not edited: does it read"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(record.registry, "loaded_files", lambda files=files: files)
            (line,) = differences(then, changed)
        assert line.startswith(f"its program of training has changed ({told}")


def test_a_call_back_into_python_is_refused(tiny, mnist):
    with pytest.raises(InputError, match=r"calls back into Python .*; remove the call"):
        prepare(tiny("model.classifier=printing"), "", mnist)


def test_weights_to_begin_from_have_the_meaning_of_the_config_and_are_in_the_record(mnist):
    initial = prepare(base, "", mnist, init="base")
    expected = load_pretrained("base").model
    for ours, theirs in zip(*map(jax.tree.leaves, (initial.initial, expected)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    plain = prepare(base, "", initial)
    assert identify(initial.config, initial.record) != identify(plain.config, plain.record)
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


class Printing(MLP):
    def __call__(self, image):
        jax.debug.print("{}", image.mean())
        return super().__call__(image)


class Listed(MLP):
    def __init__(self, config, rngs):
        super().__init__(config, rngs)
        self.blocks = [nnx.Param(1)]


@pytest.fixture
def tiny():
    """A config by the name of a classifier in this file, or of what else is its user's."""
    mine = {
        "unused": Unused,
        "centered": Centered,
        "asserting": Asserting,
        "listed": Listed,
        "fixed": Fixed,
        "printing": Printing,
    }
    objectives = {"blind": lambda config, logits, batch: weighted(type(config)(), logits, batch)}
    with added_names(CLASSIFIERS=mine, OBJECTIVES=objectives):
        yield lambda *changes: override(smoke, ["model.widths=8", "model.hidden=16", *changes])


def test_a_warning_names_a_parameter_that_no_gradient_reaches(tiny):
    checked, unreached = check_own(tiny("model.classifier=unused"))
    assert checked == "smoke: checked shapes, independence, digit_ignores_number, keys, objective"
    assert unreached == "warning: smoke: no gradient reaches classifier.unused"


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
