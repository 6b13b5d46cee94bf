"""The objective: the loss of a batch, and how many predictions are correct."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from mnistsum.config import ObjectiveConfig
from mnistsum.errors import InputError, find
from mnistsum.types import Batch, Logits, Metrics

# the logarithm of a probability of 0: finite, because -inf gives nan in a gradient
IMPOSSIBLE = -1e30


def objective(
    config: ObjectiveConfig, logits: Logits, batch: Batch
) -> Float[Array, ""]:
    """Return the loss of a batch under the objective that the config names, plus the adder's weighted penalty if any.

    To define your own, add a function of these arguments to `OBJECTIVES` in your file.
    """
    n = len(batch.label)
    chex.assert_shape(
        [logits.digit, logits.sum, batch.number, batch.sum],
        [(n, 10), (n, 19), (n, 10), (n,)],
    )
    loss = find(OBJECTIVES, "objective.name", config.name)(config, logits, batch)
    if loss is None or jnp.shape(loss) != ():
        found = (
            "nothing: write `return`" if loss is None else str(list(jnp.shape(loss)))
        )
        raise InputError(
            f"objective {config.name}: expected a scalar loss, found {found}"
        )
    return (
        loss
        if logits.penalty is None
        else loss + config.penalty_weight * logits.penalty
    )


def weighted(config: ObjectiveConfig, logits: Logits, batch: Batch) -> Float[Array, ""]:
    """Return the weighted mean of both negative log-likelihoods, in nats.

    Both outputs choose among mutually exclusive classes: 10 digits and 19 sums. The
    maximum-likelihood loss is therefore the negative log-likelihood of a softmax. A
    regression would treat a sum of 17 as nearly 18.
    """
    digit_loss = negative_log_likelihood(logits.digit, batch.label).mean()
    sum_loss = negative_log_likelihood(logits.sum, batch.sum)
    if config.held_out:  # masked, because resampling the number would leak the label
        mask = ~jnp.asarray(held_out_cells(config))[
            batch.label, batch.number.argmax(-1)
        ]
        sum_loss = jnp.where(mask, sum_loss, 0).sum() / jnp.maximum(mask.sum(), 1)
    else:
        sum_loss = sum_loss.mean()
    return config.digit_weight * digit_loss + (1 - config.digit_weight) * sum_loss


def written_sum(
    config: ObjectiveConfig, logits: Logits, batch: Batch
) -> Float[Array, ""]:
    """Return the negative log-likelihood, in nats, of the sums of pairs of numbers of `digits` digits, all as images.

    No digit is labeled; the number of each image is ignored. Source of the task:
    Manhaeve et al. 2018, "DeepProbLog", arXiv:1805.10872.
    """
    if not config.digits:
        raise InputError(
            "objective.digits: expected 1 or more for objective.name=written_sum, found 0"
        )
    digits = jax.nn.log_softmax(logits.digit).reshape(-1, 2, config.digits, 10)
    totals = digits_of_sum(batch.label.reshape(-1, 2, config.digits))
    return -jax.vmap(sum_log_likelihood)(digits, totals).mean()


OBJECTIVES: dict[str, Callable[[ObjectiveConfig, Logits, Batch], Float[Array, ""]]] = {
    "weighted": weighted,
    "written_sum": written_sum,
}


def sum_log_likelihood(
    digits: Float[Array, "2 length 10"], total: Int[Array, " length+1"]
) -> Float[Array, ""]:
    """Return the log-probability that two numbers have this sum, given each digit's log-probabilities.

    It goes through the places from the right and carries the log-probability of all
    that was seen so far, for a carry of 0 and of 1. So the cost is linear in the
    length.

    Args:
        digits: of both numbers, the leftmost first.
        total: the digits of the sum, the leftmost first.
    """

    def place(
        carries: Float[Array, " 2"], at: tuple[Array, Array, Array]
    ) -> tuple[Float[Array, " 2"], None]:
        left, right, wanted = at
        # log P(left + right = s), s from 0 to 18: the anti-diagonals of the joint
        # distribution.
        joint = jnp.full((10, 19), IMPOSSIBLE)
        joint = jnp.stack(
            [
                lax.dynamic_update_slice(joint[i], left[i] + right, (i,))
                for i in range(10)
            ]
        )
        both = jnp.append(jax.nn.logsumexp(joint, 0), IMPOSSIBLE)
        # A carry of c and a sum of s end in this digit and the next carry d if s + c =
        # wanted + 10 d.
        s = wanted + 10 * jnp.arange(2)[None] - jnp.arange(2)[:, None]  # [c, d]
        seen = jnp.where((s >= 0) & (s <= 18), both[jnp.clip(s, 0, 19)], IMPOSSIBLE)
        return jax.nn.logsumexp(carries[:, None] + seen, 0), None

    start = jnp.array([0.0, IMPOSSIBLE])
    carries, _ = lax.scan(place, start, (digits[0], digits[1], total[1:]), reverse=True)
    return carries[total[0]]


def digits_of_sum(
    digits: Int[Array, "examples 2 length"],
) -> Int[Array, "examples length+1"]:
    """Return the digits of the sum of two numbers, given their digits, the leftmost first.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.objective import digits_of_sum
        >>> digits_of_sum(jnp.array([[[9, 7], [2, 8]]])).tolist()  # 97 + 28
        [[1, 2, 5]]
    """

    def place(
        carry: Int[Array, " examples"], pair: Int[Array, " examples"]
    ) -> tuple[Array, Array]:
        return (carry + pair) // 10, (carry + pair) % 10

    carry, rest = lax.scan(
        place, jnp.zeros_like(digits[:, 0, 0]), digits.sum(1).T, reverse=True
    )
    return jnp.concatenate([carry[None], rest]).T


def negative_log_likelihood(
    logits: Float[Array, "*batch classes"], label: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Return -log softmax(logits)[label] of each example, in nats, in the shape of `label`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from mnistsum.objective import negative_log_likelihood
        >>> loss = negative_log_likelihood(jnp.zeros((2, 10)), jnp.array([3, 7]))
        >>> bool(jnp.allclose(loss, jnp.log(10)))
        True
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def trained_outputs(config: ObjectiveConfig) -> tuple[str, ...]:
    """Return which of "digit" and "sum" have a positive loss weight.

    Examples:
        >>> from mnistsum.config import ObjectiveConfig
        >>> from mnistsum.objective import trained_outputs
        >>> trained_outputs(ObjectiveConfig(digit_weight=0.0))
        ('sum',)
    """
    if config.digits:
        return ("digit",)
    weights = {"digit": config.digit_weight, "sum": 1 - config.digit_weight}
    return tuple(output for output, weight in weights.items() if weight > 0)


def held_out_cells(config: ObjectiveConfig) -> np.ndarray:
    """Return which pairs of digit and number have no sum loss: bool [10, 10], `held_out` in each row and each column.

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
    cells = (7 + np.add.outer(np.arange(10), 7 * np.arange(10))) % 10 < config.held_out
    random = np.random.default_rng(config.design)
    sums = np.add.outer(np.arange(10), np.arange(10))
    while config.design:
        drawn = cells[random.permutation(10)][:, random.permutation(10)]
        if len(np.unique(sums[~drawn])) == 19:
            return drawn
    return cells


def batch_metrics(loss: Float[Array, ""], logits: Logits, batch: Batch) -> Metrics:
    """Return the metrics of a batch, given its loss."""
    examples = jnp.int32(len(batch.label))
    return Metrics(
        examples=examples,
        loss=loss * examples,
        digit_correct=(logits.digit.argmax(-1) == batch.label).sum(dtype=jnp.int32),
        sum_correct=(logits.sum.argmax(-1) == batch.sum).sum(dtype=jnp.int32),
    )
