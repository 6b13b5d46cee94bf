"""Initial weights that come from another run or from a file, instead of being drawn from the seed."""

import jax

from mnistsum.config import Config, ModelConfig
from mnistsum.errors import InputError
from mnistsum.files import first_difference
from mnistsum.models import Model, abstract_model
from mnistsum.predict import load_pretrained
from mnistsum.weights import named

# Fields of a model's config that determine its arrays, and those that must match even if all shapes do.
ARCHITECTURE = ("classifier", "adder", "adder_input", "widths", "hidden")
MEANING = ARCHITECTURE[:3]


def load(config: Config, init: str) -> Model:
    """Return the model that a run of `config` starts from.

    Args:
        config: the run's config. The weights must have its architecture; how it trains and computes may differ.
        init: an argument for `load_pretrained`: a run's folder, a file of weights, or the name of a bundled network.

    Raises:
        InputError: if there are none, or if their architecture differs; the message names the first difference.
    """
    try:
        theirs, model, _ = load_pretrained(init)
    except InputError as error:
        raise InputError(f"--init {error}") from None
    ours = abstract_model(config.model)
    arrays_differ = first_difference(named(ours), named(model))
    if arrays_differ is None and all(getattr(theirs.model, name) == getattr(config.model, name) for name in MEANING):
        return jax.tree.unflatten(jax.tree.structure(ours), jax.tree.leaves(model))
    differ = [name for name in ARCHITECTURE if getattr(theirs.model, name) != getattr(config.model, name)]
    if differ:
        found, expected = (getattr(side.model, differ[0]) for side in (theirs, config))
        raise InputError(
            f"--init {init}: of another architecture: expected model.{differ[0]} to be {expected!r}, found {found!r}; "
            f"add {' '.join(_assignment(theirs.model, name) for name in differ)} or give other weights"
        )
    raise InputError(
        f"--init {init}: of another architecture: {arrays_differ}; the code of the network has changed: give other "
        "weights"
    )


def _assignment(model: ModelConfig, name: str) -> str:
    """Return a field as a command-line override."""
    value = getattr(model, name)
    return f"model.{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
