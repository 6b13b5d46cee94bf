"""Models: a classifier and an adder, chosen by name from the config.

Only this package imports Flax.

A model is a Flax NNX module, used as a pytree in JAX's own transformations:

- Its arrays are its parameters and, if it has batch norms, their statistics. Outside a
  training step it is in evaluation mode and holds no random keys, so that models can be
  averaged, stacked and saved.
- Flax refuses to update a variable in another trace than the one that made it. The
  functions here therefore return copies, whose variables are new. In a loop or another
  transformation of your own, call `rebuilt(model)`.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

from mnistsum.config import ModelConfig, check_config
from mnistsum.devices import resolve_dtype
from mnistsum.errors import InputError, look_up
from mnistsum.models.adders import ADDERS
from mnistsum.models.classifiers import CLASSIFIERS
from mnistsum.models.flax_layers import (
    portable_convolution,
    replace_quick,
    speed_up,
)
from mnistsum.models.layers import Conv
from mnistsum.types import (
    Batch,
    DigitLogits,
    Features,
    Images,
    Logits,
    Number,
    SumLogits,
)

# kinds of variables that a network may hold
SUPPORTED = (nnx.Param, nnx.BatchStat, nnx.RngState)
Module = TypeVar("Module", bound=nnx.Module)


@jax.tree_util.register_static
@dataclass(frozen=True)
class NoKey:
    """Takes the place of a random key in evaluation; drawing from it is an error."""

    def __getitem__(self, index):
        raise RuntimeError(
            "a layer draws from a random key in evaluation, where a network has "
            "none: train with mnistsum.models.in_training(model, key); nnx.RNN needs "
            "no key if it is called with its initial_carry"
        )


class Model(nnx.Module):
    """A classifier and an adder."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        config = resolve_dtype(config)
        make = look_up(CLASSIFIERS, "model.classifier", config.classifier)
        self.classifier = make(config, rngs)
        name = type(self.classifier).__name__
        if not issubclass(type(self.classifier), nnx.Module):
            raise InputError(f"{name}: expected a classifier that is an nnx.Module")
        if not hasattr(self.classifier, "features"):
            raise InputError(f"{name}: set self.features to the width of its features")
        if config.zero_output:
            if not hasattr(self.classifier, "output"):
                raise InputError(
                    "model.zero_output: expected a classifier with a last layer "
                    f"`output`, found {name}"
                )
            output = self.classifier.output
            nnx.update(output, jax.tree.map(jnp.zeros_like, parameters(output)))
        features = self.classifier.features
        self.adder = look_up(ADDERS, "model.adder", config.adder)(
            config, features, rngs
        )
        self.adder_gradient = config.adder_gradient
        self.scaling = config.scaling  # of the pixels that it sees

    def classify(self, image: Images) -> tuple[Features, DigitLogits]:
        """Return features and digit logits, neither of which depends on the number."""
        outputs = self.classifier(image)
        if not (isinstance(outputs, tuple) and len(outputs) == 2):
            raise InputError(
                f"{type(self.classifier).__name__}: expected `return features, "
                "logits`, [batch, features] and [batch, 10], found "
                f"{[jnp.shape(each) for each in jax.tree.leaves(outputs)]}"
            )
        features, digit = outputs
        _check_width(self.classifier, "features", features, self.classifier.features)
        _check_width(self.classifier, "digit logits", digit, 10)
        return features, digit.astype(jnp.float32)

    def add(self, features: Features, digit: DigitLogits, number: Number) -> SumLogits:
        """Return sum logits from the output of `classify` and the one-hot number."""
        total = self.adder(features, digit, number)
        _check_width(self.adder, "sum logits", total, 19)
        return total.astype(jnp.float32)

    def __call__(self, image: Images, number: Number) -> Logits:
        features, digit = self.classify(image)
        seen = features, digit
        if not self.adder_gradient:
            seen = lax.stop_gradient(seen)
        penalty = None
        if hasattr(self.adder, "penalty"):
            penalty = self.adder.penalty(*seen, number)
            if penalty is None or jnp.shape(penalty) != number.shape[:1]:
                found = "nothing" if penalty is None else list(jnp.shape(penalty))
                raise InputError(
                    f"{type(self.adder).__name__}.penalty: expected [batch], one "
                    f"value for each example, found {found}"
                )
        return Logits(digit, self.add(*seen, number), penalty)


def build(config: ModelConfig, key: Key[Array, ""]) -> Model:
    """Return a freshly initialized model in evaluation mode.

    `jax.vmap` over keys stacks a model for each key.

    Raises:
        InputError: if this is no ModelConfig, or the network holds variables that
            training cannot carry.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> import mnistsum
        >>> config = mnistsum.ModelConfig(classifier="mlp", widths=(32,))
        >>> model = mnistsum.build(config, jax.random.key(0))
        >>> numbers = jax.nn.one_hot(jnp.array([3, 7]), 10)
        >>> logits = model(jnp.zeros((2, 28, 28, 1)), numbers)
        >>> logits.digit.shape, logits.sum.shape
        ((2, 10), (2, 19))
    """
    check_config(ModelConfig, config)
    model = Model(config, nnx.Rngs(key))
    _check_variables(model)
    speed_up(model, resolve_dtype(config).dtype)
    return in_evaluation(model)


def abstract_model(config: ModelConfig) -> Model:
    """Return the model of a config with a shape and a type in place of each array.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import abstract_model
        >>> model = abstract_model(ModelConfig(classifier="mlp", widths=(32,)))
        >>> model.classifier.output.kernel.shape
        (32, 10)
    """
    return jax.eval_shape(lambda: build(config, jax.random.key(0)))


def layers_in_other_types(model: Model, dtype: str) -> list[str]:
    """Return the names of layers that multiply in another type than this."""
    names = []
    for path, layer in nnx.iter_modules(model):
        if hasattr(layer, "kernel") and jnp.dtype(
            getattr(layer, "dtype", None) or "float32"
        ) != jnp.dtype(dtype):
            names.append(".".join(map(str, path)))
    return names


def parameters(module: nnx.Module) -> PyTree:
    """Return the trainable parameters of a model or of a layer.

    Examples:
        >>> import jax
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import build, parameters
        >>> config = ModelConfig(classifier="mlp", widths=(32,))
        >>> model = build(config, jax.random.key(0))
        >>> sum(leaf.size for leaf in jax.tree.leaves(parameters(model)))
        30589
    """
    return nnx.state(module, nnx.Param)


def with_values(model: Module, *values: PyTree) -> Module:
    """Return a copy of the model with these parameters or statistics."""
    model = rebuilt(model)
    nnx.update(model, *values)
    return model


def rebuilt(model: Module) -> Module:
    """Return a copy whose variables belong to the current trace."""
    return nnx.clone(model)


def in_training(model: Module, key: Key[Array, ""]) -> Module:
    """Return a copy in training mode, whose dropout layers draw from the key."""
    model = rebuilt(model)
    model.train()
    for i, stream in enumerate(_nodes(model, nnx.RngStream)):
        stream.key.set_value(jax.random.fold_in(key, i))
        stream.count.set_value(jnp.uint32(0))
    return model


def train_forward(
    average: float,
    key: Key[Array, ""],
    step: Int[Array, ""],
    model: Model,
    batch: Batch,
) -> tuple[Logits, PyTree]:
    """Return a batch's logits in training mode, and the new statistics of batch norms.

    The statistics s of the batches b are s <- d s + (1 - d) b with the decay d of the
    parameters' average, so that they are those of the averaged parameters to first
    order. Without such an average, d is the layer's momentum, lowered in early steps.

    Args:
        average: decay of the parameters' average; 0: no average.
        key: from which dropout layers draw.
        step: counted from 0 over the whole run.
        model: in evaluation mode.
        batch: the examples.
    """
    model = in_training(model, key)
    for norm in _nodes(model, nnx.BatchNorm):
        momentum = early_decay(average or norm.momentum, step)
        # With the shape of the statistics, so that nnx.scan can slice stacked layers.
        norm.momentum = nnx.data(jnp.full_like(norm.mean[...], momentum))
    return model(batch.image, batch.number), nnx.state(model, nnx.BatchStat)


def early_decay(decay: float, step: Int[Array, ""]) -> Float[Array, ""]:
    """Return a moving average's decay, which is lower in early steps."""
    return jnp.minimum(decay, (1 + step) / (10 + step))


def in_evaluation(model: Module) -> Module:
    """Return a copy in evaluation mode, without random keys."""
    model = rebuilt(model)
    model.eval()
    for stream in _nodes(model, nnx.RngStream):
        stream.key.set_value(NoKey())
        stream.count.set_value(None)
    return model


def for_export(model: Module) -> Module:
    """Return a copy whose convolutions are chosen for each platform when lowered."""
    model = rebuilt(model)
    for layer in _nodes(model, Conv):
        layer.is_portable = True
    replace_quick(model, portable_convolution)
    return model


def _check_width(part: nnx.Module, what: str, found: Array, width: int) -> None:
    """Raise InputError if a part of a network does not return [batch, width]."""
    if jnp.ndim(found) != 2 or found.shape[1] != width:
        raise InputError(
            f"{type(part).__name__}: expected {what} [batch, {width}], found "
            f"{list(jnp.shape(found))}"
        )


def _nodes(model: nnx.Module, kind: type) -> list[Any]:
    return [node for _, node in nnx.iter_graph(model) if isinstance(node, kind)]


def _check_variables(model: Model) -> None:
    """Raise InputError if training cannot carry one of a model's variables."""
    owners: dict[int, str] = {}
    for path, node in jax.tree.leaves_with_path(
        model, is_leaf=lambda node: isinstance(node, nnx.Variable)
    ):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if not isinstance(node, SUPPORTED):
            kind = (
                type(node).__name__ if isinstance(node, nnx.Variable) else "bare array"
            )
            raise InputError(
                f"{name}: a {kind}, which training does not carry; a network may hold "
                "nnx.Param, nnx.BatchStat and the keys of nnx.Dropout"
            )
        if isinstance(node, nnx.RngState):
            continue
        found = {
            str(getattr(leaf, "dtype", type(leaf).__name__))
            for leaf in jax.tree.leaves(node)
        } - {"float32"}
        if found:
            raise InputError(
                f"{name}: expected float32, found {found.pop()}; model.dtype is what "
                "products compute in"
            )
        if owners.setdefault(id(node), name) != name:
            raise InputError(
                f"{name}: the same variable as {owners[id(node)]}; layers may not "
                "share parameters"
            )
