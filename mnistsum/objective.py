"""The objective: the loss of a batch, and how many predictions are correct."""

from collections.abc import Callable

import chex
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from mnistsum.config import ObjectiveConfig
from mnistsum.errors import InputError, look_up
from mnistsum.types import Batch, Logits, Metrics

Objective = Callable[[ObjectiveConfig, Logits, Batch], Float[Array, ""]]


def _function(config: ObjectiveConfig) -> Objective:
    return look_up(OBJECTIVES, "objective.name", config.name)


def objective(
    config: ObjectiveConfig, logits: Logits, batch: Batch
) -> Float[Array, ""]:
    """Return the loss of a batch under the config's objective.

    It includes the mean of the adder's penalty, if any, times its weight.

    To define your own, add a function of these arguments to `OBJECTIVES` in your file.
    An object that is called like it may have two attributes: `group`, how many images
    form an example and stay together in every epoch, and `outputs`, which outputs it
    trains.
    """
    n = len(batch.label)
    chex.assert_shape(
        [logits.digit, logits.sum, batch.number, batch.sum],
        [(n, 10), (n, 19), (n, 10), (n,)],
    )
    loss = _function(config)(config, logits, batch)
    if loss is None or jnp.shape(loss) != ():
        found = (
            "nothing: write `return`" if loss is None else str(list(jnp.shape(loss)))
        )
        raise InputError(
            f"objective {config.name}: expected a scalar loss, found {found}"
        )
    if logits.penalty is None:
        return loss
    penalty = _mean_over_trained(config, logits.penalty, batch)
    return loss + config.penalty_weight * penalty


def weighted(config: ObjectiveConfig, logits: Logits, batch: Batch) -> Float[Array, ""]:
    """Return the weighted mean of both negative log-likelihoods, in nats.

    Both outputs choose among mutually exclusive classes: 10 digits and 19 sums. The
    maximum-likelihood loss is therefore the negative log-likelihood of a softmax. A
    regression would treat a sum of 17 as nearly 18.
    """
    digit_loss = negative_log_likelihood(logits.digit, batch.label).mean()
    sum_loss = _mean_over_trained(
        config, negative_log_likelihood(logits.sum, batch.sum), batch
    )
    return config.digit_weight * digit_loss + (1 - config.digit_weight) * sum_loss


def _mean_over_trained(
    config: ObjectiveConfig, values: Float[Array, " batch"], batch: Batch
) -> Float[Array, ""]:
    """Return the mean over the examples whose pair is not held out."""
    if not config.held_out:
        return values.mean()
    # masked, because resampling the number would leak the label
    trained = ~jnp.asarray(held_out_cells(config))[batch.label, batch.number.argmax(-1)]
    return jnp.where(trained, values, 0).sum() / jnp.maximum(trained.sum(), 1)


OBJECTIVES: dict[str, Objective] = {"weighted": weighted}


def negative_log_likelihood(
    logits: Float[Array, "*batch classes"], label: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Return -log softmax(logits)[label] of each example, in nats.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.objective import negative_log_likelihood
        >>> loss = negative_log_likelihood(jnp.zeros((2, 10)), jnp.array([3, 7]))
        >>> bool(jnp.allclose(loss, jnp.log(10)))
        True
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def trained_outputs(config: ObjectiveConfig) -> tuple[str, ...]:
    """Return which of "digit" and "sum" are trained.

    These are the `outputs` of the objective, or else those with a positive loss weight.

    Examples:
        >>> from mnistsum.config import ObjectiveConfig
        >>> from mnistsum.objective import trained_outputs
        >>> trained_outputs(ObjectiveConfig(digit_weight=0.0))
        ('sum',)
    """
    outputs = getattr(_function(config), "outputs", None)
    if outputs is not None:
        return outputs
    weights = {"digit": config.digit_weight, "sum": 1 - config.digit_weight}
    return tuple(output for output, weight in weights.items() if weight > 0)


def group_size(config: ObjectiveConfig) -> int:
    """Return how many images form an example of the objective."""
    return getattr(_function(config), "group", 1)


def held_out_cells(config: ObjectiveConfig) -> np.ndarray:
    """Return which pairs of digit and number have no sum loss: bool [10, 10].

    Each row and each column has `held_out` such pairs.

    Each sum from 0 to 18 keeps at least one trained pair, which would fail for a
    `held_out` of 8. A larger `held_out` includes the pairs of a smaller one, if
    `design` is 0.

    Examples:
        >>> from mnistsum.config import ObjectiveConfig
        >>> from mnistsum.objective import held_out_cells
        >>> cells = held_out_cells(ObjectiveConfig(held_out=2))
        >>> cells.sum(0).tolist(), cells.sum(1).tolist()
        ([2, 2, 2, 2, 2, 2, 2, 2, 2, 2], [2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    digits, numbers = np.indices((10, 10))
    # 7 shares no divisor with 10, so a column holds out other digits than the next one;
    # and by adding 7, the only pairs of the sums 0 and 18 stay.
    cells = (digits + 7 * numbers + 7) % 10 < config.held_out
    if config.design == 0:
        return cells
    random = np.random.default_rng(config.design)
    while True:
        drawn = cells[random.permutation(10)][:, random.permutation(10)]
        kept = (digits + numbers)[~drawn]
        if len(np.unique(kept)) == 19:
            return drawn


def batch_metrics(loss: Float[Array, ""], logits: Logits, batch: Batch) -> Metrics:
    """Return the metrics of a batch, given its loss."""
    examples = jnp.int32(len(batch.label))
    return Metrics(
        examples=examples,
        loss=loss * examples,
        digit_correct=(logits.digit.argmax(-1) == batch.label).sum(dtype=jnp.int32),
        sum_correct=(logits.sum.argmax(-1) == batch.sum).sum(dtype=jnp.int32),
    )
