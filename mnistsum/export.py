"""A trained model as a graph that runs without mnistsum: StableHLO.

It takes uint8 images [n, 28, 28, 1], 0-255, and int32 numbers [n], 0-9, for any n, and
returns the probabilities of the digit [n, 10] and of the sum [n, 19].
"""

import jax
import jax.numpy as jnp
from jax import export

from mnistsum.config import Config
from mnistsum.models import Model, for_export
from mnistsum.predict import probabilities


def to_stablehlo(config: Config, model: Model) -> bytes:
    """Return serialized StableHLO for every platform.

    `jax.export.deserialize(data).call(images, numbers)` runs it.

    Examples:
        >>> import jax, numpy as np
        >>> from mnistsum.config import Config, ModelConfig
        >>> from mnistsum.export import to_stablehlo
        >>> from mnistsum.models import build
        >>> config = Config(model=ModelConfig(classifier="mlp", widths=(8,)))
        >>> graph = to_stablehlo(config, build(config.model, jax.random.key(0)))
        >>> run = jax.export.deserialize(bytearray(graph)).call
        >>> images = np.zeros((5, 28, 28, 1), np.uint8)
        >>> digit, total = run(images, np.arange(5, dtype=np.int32))
        >>> digit.shape, total.shape
        ((5, 10), (5, 19))
    """
    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, 28, 28, 1), jnp.uint8)
    numbers = jax.ShapeDtypeStruct((n,), jnp.int32)
    portable = for_export(model)
    function = jax.jit(lambda *pair: tuple(probabilities(config.data, portable, *pair)))
    exported = export.export(function, platforms=("cpu", "cuda", "rocm", "tpu"))(
        images, numbers
    )
    return bytes(exported.serialize())
