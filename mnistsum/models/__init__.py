"""Models: a classifier and an adder, chosen by name from the config. Only this package imports Flax.

A model is a pytree of arrays: its parameters and, if it has batch norms, their statistics. Outside a training step
it is in evaluation mode and holds no random keys.
"""

import inspect
import numbers
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from mnistsum.config import ModelConfig
from mnistsum.errors import InputError
from mnistsum.registry import ADDERS, CLASSIFIERS, Registry
from mnistsum.types import Logits

SUPPORTED = (nnx.Param, nnx.BatchStat, nnx.RngState)  # kinds of variables that a network may hold
Module = TypeVar("Module", bound=nnx.Module)
Tree = TypeVar("Tree")


@jax.tree_util.register_static
@dataclass(frozen=True)
class NoKey:
    """Placeholder for a random key in evaluation: it holds no array, and raises if a layer draws from it."""

    def __getitem__(self, index):
        raise InputError(
            "a layer draws from a random key in evaluation, where a network has none; nnx.RNN needs none where it is "
            "called with rngs=nnx.Rngs(0) or with its initial_carry"
        )


class Model(nnx.Module):
    """A classifier and an adder."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.classifier = _instantiate(CLASSIFIERS, config.classifier, config=config, rngs=rngs)
        features = getattr(self.classifier, "features", None)
        if not isinstance(features, numbers.Integral):
            found = "none" if features is None else type(features).__name__
            raise InputError(
                f"classifier {config.classifier}: expected an attribute `features`, the width of its features, found "
                f"{found}"
            )
        self.adder = _instantiate(ADDERS, config.adder, config=config, features=features, rngs=rngs)
        self.adder_gradient = config.adder_gradient

    def classify(
        self, image: Float[Array, "batch 28 28 1"]
    ) -> tuple[Float[Array, "batch f"], Float[Array, "batch 10"]]:
        """Return features and digit logits, neither of which depends on the number."""
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise InputError(f"image: expected scaled pixels, found {image.dtype}; mnistsum.data.scale makes them")
        answer = self.classifier(image)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise InputError(f"{type(self.classifier).__name__}: expected to return features and digit logits")
        features, digit = answer
        n = image.shape[0]
        _check_shape(f"{type(self.classifier).__name__}, features", features, (n, self.classifier.features))
        _check_shape(f"{type(self.classifier).__name__}, digit logits", digit, (n, 10))
        return features, digit.astype(jnp.float32)

    def add(
        self, features: Float[Array, "batch f"], digit: Float[Array, "batch 10"], number: Float[Array, "batch 10"]
    ) -> Float[Array, "batch 19"]:
        """Return sum logits from the output of `classify` and the one-hot number."""
        if not self.adder_gradient:
            features, digit = jax.lax.stop_gradient((features, digit))
        total = self.adder(features, digit, number)
        _check_shape(f"{type(self.adder).__name__}, sum logits", total, (digit.shape[0], 19))
        return total.astype(jnp.float32)

    def __call__(self, image: Float[Array, "batch 28 28 1"], number: Float[Array, "batch 10"]) -> Logits:
        features, digit = self.classify(image)
        return Logits(digit, self.add(features, digit, number))


def build(config: ModelConfig, key: Key[Array, ""]) -> Model:
    """Return a freshly initialized model in evaluation mode; `jax.vmap` over keys stacks one per key.

    Raises:
        InputError: if the network holds variables that training cannot carry.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> import mnistsum
        >>> model = mnistsum.build(mnistsum.ModelConfig(classifier="mlp", widths=(32,)), jax.random.key(0))
        >>> logits = model(jnp.zeros((2, 28, 28, 1)), jax.nn.one_hot(jnp.array([3, 7]), 10))
        >>> logits.digit.shape, logits.sum.shape
        ((2, 10), (2, 19))
    """
    model = Model(config, nnx.Rngs(key))
    _check_variables(model)
    return in_evaluation(model)


def abstract_model(config: ModelConfig) -> Model:
    """Return the network of a config without its arrays: a shape and a type for each.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import abstract_model
        >>> abstract_model(ModelConfig(classifier="mlp", widths=(32,))).classifier.output.kernel.shape
        (32, 10)
    """
    return jax.eval_shape(lambda: build(config, jax.random.key(0)))


def check_repeatable(config: ModelConfig) -> None:
    """Check that each build gives the same network, because a program is compiled for one of them.

    Raises:
        InputError: if it does not.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import check_repeatable
        >>> check_repeatable(ModelConfig(classifier="mlp"))
    """
    once, again = (jax.tree.structure(abstract_model(config)) for _ in range(2))
    if once != again:
        raise InputError(
            f"model: two networks of {config.classifier} and {config.adder} differ in more than their arrays; "
            "create a function that a layer stores, such as a lambda or an initializer, once, outside the class"
        )


def parameters(module: nnx.Module) -> PyTree:
    """Return the trainable part of a model or of a layer.

    Examples:
        >>> import jax
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import build, parameters
        >>> model = build(ModelConfig(classifier="mlp", widths=(32,)), jax.random.key(0))
        >>> sum(leaf.size for leaf in jax.tree.leaves(parameters(model)))
        30589
    """
    _, params, _ = nnx.split(module, nnx.Param, ...)
    return params


def with_parameters(model: Module, params: PyTree) -> Module:
    """Return a copy of the model with these parameters."""
    graph, _, rest = nnx.split(model, nnx.Param, ...)
    return nnx.merge(graph, *rebuilt((params, rest)))


def rebuilt(model: Tree) -> Tree:
    """Return a copy whose variables belong to the current trace; Flax forbids updating those of another trace.

    Code that calls a model inside a loop or another JAX transformation must rebuild it there.
    """
    return jax.tree.map(lambda leaf: leaf, model)


def in_training(model: Module, key: Key[Array, ""]) -> Module:
    """Return a copy in training mode: batch norms use and update statistics, dropout layers draw from the key."""
    model = rebuilt(model)
    model.train()
    for i, stream in enumerate(_random_streams(model)):
        stream.key.set_value(jax.random.fold_in(key, i))
        stream.count.set_value(jnp.uint32(0))
    return model


def in_evaluation(model: Module) -> Module:
    """Return a copy in evaluation mode, without keys: an answer depends only on the image and the number."""
    model = rebuilt(model)
    model.eval()
    for stream in _random_streams(model):
        stream.key.set_value(NoKey())
        stream.count.set_value(None)
    return model


def with_fixed_calls(model: Module) -> Module:
    """Return a copy whose Flax layers keep their present `__call__`, even if Flax's classes are patched.

    jax2onnx replaces the `__call__` of layers that it knows with versions that are right only for the last axis.
    """
    model = rebuilt(model)
    for _, node in nnx.iter_graph(model):
        call = getattr(type(node), "__call__", None)  # noqa: B004 - the function is wanted
        if isinstance(node, nnx.Module) and call is not None and call.__module__.startswith("flax."):
            node.__class__ = type(type(node).__name__, (type(node),), {"__call__": call})
    return model


def _instantiate(registry: Registry, name: str, **arguments: Any) -> Any:
    """Build the class of a name; raise InputError if it does not take these arguments."""
    kind = registry[name]
    is_class = isinstance(kind, type)  # the class's own signature is that of Flax's metaclass
    signature = inspect.signature(kind.__init__ if is_class else kind)
    try:
        signature.bind(*([kind] if is_class else []), *arguments.values())
    except TypeError:
        raise InputError(
            f"{registry.key} {name}: expected a class that is built from ({', '.join(arguments)}), found {signature}"
        ) from None
    return kind(*arguments.values())


def _check_shape(what: str, found: Any, expected: tuple[Any, int]) -> None:
    """Raise InputError if a part of a network does not return this shape; the message calls the batch size n."""
    n, width = expected
    shape = getattr(found, "shape", None)
    # In an export, the batch size is symbolic, and equal sizes are not always recognized as equal.
    sizes = [size for size in (n, *(shape or ())[:1]) if isinstance(size, int)]
    if shape is None or len(shape) != 2 or shape[1] != width or len(set(sizes)) > 1:
        axes = ["n" if axis == 0 and size == n else str(size) for axis, size in enumerate(shape or ())]
        shown = type(found).__name__ if shape is None else f"[{', '.join(axes)}]"
        raise InputError(f"{what}: expected [n, {width}] of n images, found {shown}")


def _random_streams(model: nnx.Module) -> list[Any]:
    """Return the random streams of a model's layers, each once."""
    return [node for _, node in nnx.iter_graph(model) if isinstance(node, nnx.RngStream)]


def _check_variables(model: Model) -> None:
    """Raise InputError if a variable is one that training would lose, is not float32, or is shared by two layers."""
    owners: dict[int, str] = {}
    for path, node in jax.tree.leaves_with_path(model, is_leaf=lambda node: isinstance(node, nnx.Variable)):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if not isinstance(node, SUPPORTED):
            kind = type(node).__name__ if isinstance(node, nnx.Variable) else "bare array"
            raise InputError(
                f"{name}: a {kind}, which training does not carry; a network may hold nnx.Param, nnx.BatchStat and the "
                "keys of nnx.Dropout"
            )
        leaves = [] if isinstance(node, nnx.RngState) else jax.tree.leaves(node)
        if len(leaves) > 1 or not all(hasattr(leaf, "dtype") for leaf in leaves):
            kind = type(node.get_raw_value()).__name__
            raise InputError(f"{name}: expected an array, found a {kind}; a network's variables hold one array each")
        if found := {str(leaf.dtype) for leaf in leaves} - {"float32"}:
            raise InputError(
                f"{name}: expected float32, found {found.pop()}; a network keeps float32 arrays, and model.dtype is "
                "what its products compute in"
            )
        if not isinstance(node, nnx.RngState) and owners.setdefault(id(node), name) != name:
            raise InputError(
                f"{name}: the same variable as {owners[id(node)]}; a network's layers may not share parameters"
            )
