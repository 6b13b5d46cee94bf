"""Objectives `sum_of_N_digits`: sums of two written numbers of N digits.

No digit is labeled, and the number beside each image is ignored. Source of the task:
Manhaeve et al. 2018, "DeepProbLog", arXiv:1805.10872.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mnistsum.config import ObjectiveConfig
from mnistsum.types import Batch, Logits

LENGTHS = (1, 2, 3, 4, 15, 100, 200, 500)
# the logarithm of a probability of 0: finite, because -inf gives nan in a gradient
IMPOSSIBLE = -1e30


@dataclass(frozen=True)
class WrittenSum:
    """The negative log-likelihood, in nats, of the sums of pairs of numbers."""

    length: int  # digits of each number
    outputs = ("digit",)

    @property
    def group(self) -> int:
        """Images of an example."""
        return 2 * self.length

    def __call__(
        self, config: ObjectiveConfig, logits: Logits, batch: Batch
    ) -> Float[Array, ""]:
        """Return the mean over the examples of a batch."""
        digits = jax.nn.log_softmax(logits.digit).reshape(-1, 2, self.length, 10)
        totals = digits_of_sum(batch.label.reshape(-1, 2, self.length))
        return -jax.vmap(sum_log_likelihood)(digits, totals).mean()


def sum_log_likelihood(
    digits: Float[Array, "2 length 10"], total: Int[Array, " length+1"]
) -> Float[Array, ""]:
    """Return the log-probability that two numbers have this sum.

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
    """Return the digits of the sum of two numbers, the leftmost first.

    Examples:
        >>> import jax.numpy as jnp
        >>> from experiments.studies.written_sums.objectives import digits_of_sum
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


OBJECTIVES = {f"sum_of_{length}_digits": WrittenSum(length) for length in LENGTHS}
