"""Does the reader decide, or the method of inference? `python -m experiments.studies.inference`.

Two readers, `base` and A-NeSI's network, learn from sums of numbers of four digits by
five methods of inference, for as many epochs each. Each method is an objective. `python
-m experiments.addition` trains it, too, with this file as the config and
`objective.name=NAME`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from experiments import cli
from experiments.addition import TASK
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.comparison.written_sums import SCORES, score_sums
from experiments.studies.training import RESULTS, train_study, write_results
from mnistsum.config import Config, ObjectiveConfig, override
from mnistsum.file_io import write_whole
from mnistsum.objective import digits_of_sum, sum_log_likelihood
from mnistsum.registry import load_file
from mnistsum.types import Batch, Logits

LENGTH, SEEDS = 4, range(5)
PROOFS = 3  # that `likeliest_proofs` keeps
READERS = ("base", str(Path(__file__).with_name("mnist_net.py")))
IMPOSSIBLE = -1e9  # a log-probability
TINY = 1e-30  # keeps logarithms finite


def marginals(digits: Float[Array, "2 length 10"], total: Array) -> Float[Array, ""]:
    """Return the sum of the losses of each place of the sum, as PLIA trains it.

    The carry into a place has its marginal distribution, whatever is known of the
    places to its right.
    """

    def place(carry, at):
        left, right, wanted = at
        sums = jnp.convolve(jnp.exp(left), jnp.exp(right))  # of the two digits, 0 to 18
        # 0 to 19
        with_carry = jnp.append((1 - carry) * sums, 0) + carry * jnp.append(0, sums)
        return with_carry[10:].sum(), -jnp.log(
            with_carry[wanted] + with_carry[wanted + 10] + TINY
        )

    carry, losses = lax.scan(
        place, 0.0, (digits[0], digits[1], total[1:]), reverse=True
    )
    return losses.sum() - jnp.log(jnp.where(total[0] == 1, carry, 1 - carry) + TINY)


def likeliest_proofs(
    digits: Float[Array, "2 length 10"], total: Array
) -> Float[Array, ""]:
    """Return the loss of a sum whose probability counts its likeliest proofs alone, as in Scallop."""

    def place(carries, at):
        left, right, wanted = at
        joint = left[:, None] + right[None]  # [digit, digit]
        sums = np.add.outer(np.arange(10), np.arange(10))

        def reach(carry_out):
            proofs = [
                lax.top_k(
                    jnp.where(
                        sums + carry_in == wanted + 10 * carry_out, joint, IMPOSSIBLE
                    ).ravel(),
                    PROOFS,
                )[0]
                for carry_in in (0, 1)
            ]
            both = [
                carries[carry_in][:, None] + proofs[carry_in][None]
                for carry_in in (0, 1)
            ]
            return lax.top_k(jnp.stack(both).ravel(), PROOFS)[0]

        return jnp.stack([reach(0), reach(1)]), None

    start = jnp.full((2, PROOFS), IMPOSSIBLE).at[0, 0].set(0.0)
    carries, _ = lax.scan(place, start, (digits[0], digits[1], total[1:]), reverse=True)
    return -jax.nn.logsumexp(carries[total[0]])


def failure_probability(
    digits: Float[Array, "2 length 10"], total: Array
) -> Float[Array, ""]:
    """Return one minus the probability of the sum, which has no logarithm, as in DeepProofLog."""
    return 1 - jnp.exp(sum_log_likelihood(digits, total))


def reinforce(digits: Float[Array, "2 length 10"], total: Array) -> Float[Array, ""]:
    """Return a loss whose gradient is REINFORCE's: eight samples, rewarded by the share of right places of the sum."""
    bits = lax.bitcast_convert_type(digits.sum(), jnp.uint32)  # an objective has no key
    samples = jax.random.categorical(
        jax.random.key(bits), digits, shape=(8, *digits.shape[:2])
    )
    reward = (digits_of_sum(samples) == total[None]).mean(-1)
    log_probability = jnp.take_along_axis(digits[None], samples[..., None], -1).sum(
        (1, 2, 3)
    )
    return -((reward - reward.mean()) * log_probability).mean()


def of_batch(
    loss: Callable[..., Array],
) -> Callable[[ObjectiveConfig, Logits, Batch], Array]:
    """Return the objective that is a method's mean loss over the examples of a batch."""

    def objective(
        config: ObjectiveConfig, logits: Logits, batch: Batch
    ) -> Float[Array, ""]:
        digits = jax.nn.log_softmax(logits.digit).reshape(-1, 2, config.digits, 10)
        totals = digits_of_sum(batch.label.reshape(-1, 2, config.digits))
        return jax.vmap(loss)(digits, totals).mean()

    return objective


OBJECTIVES: dict[str, Any] = {
    each.__name__: of_batch(each)
    for each in (marginals, likeliest_proofs, failure_probability, reinforce)
}
config = override(cli.load_config("base"), [*TASK, f"objective.digits={LENGTH}"])
config = dataclasses.replace(config, name="inference")


def configs() -> list[Config]:
    """Return the config of each reader with each method, all with the same epochs and images in a step."""
    changes = [
        *TASK,
        f"objective.digits={LENGTH}",
        "training.epochs=8",
        "training.batch_size=128",
    ]
    return [
        dataclasses.replace(
            override(reader, [*changes, f"objective.name={method}"]),
            name=f"{reader.name}-{method}",
        )
        for reader in map(cli.load_config, READERS)
        for method in ("written_sum", *OBJECTIVES)
    ]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the study's table in Markdown."""
    rows = []
    for name in (config.name for config in configs()):
        of_config = [line for line in lines if line["config"] == name]
        scores = [
            format_spread(spread([line[score] for line in of_config]), "%")
            for score in SCORES
        ]
        sums = [line["mean_sum_accuracy"] for line in of_config]
        rows.append(
            [
                *name.split("-"),
                len(of_config),
                *scores,
                f"{100 * min(sums):.2f} to {100 * max(sums):.2f}",
            ]
        )
    return f"""\
`python -m experiments.studies.inference`: two networks that learn from sums of numbers of {LENGTH} digits, by five
methods of inference, for eight epochs. Scores are means ± standard deviations over all seeds.

{markdown(["network", "method", "seeds", *SCORES.values(), "their range"], rows, (0, 1))}
"""


def command(words: list[str]) -> int:
    """Train what is missing, and write a line for each run, and the table."""
    load_file(__file__)  # the objectives, here and in the workers
    load_file(READERS[1])
    lines = []
    for _, run, labels, about in train_study(
        words, "inference", __doc__, [(config, SEEDS) for config in configs()]
    ):
        lines.append(
            {
                "config": run.config.name,
                "seed": run.config.seed,
                **score_sums(run, labels),
                **about,
            }
        )
        print(
            f"{run.config.name}, seed {run.config.seed}: {lines[-1]['digit_accuracy']:.2%}",
            flush=True,
        )
    lines.sort(key=lambda line: (line["config"], line["seed"]))
    write_results("inference", lines)
    write_whole(RESULTS / "inference.md", table(lines))
    return 0


if __name__ == "__main__":
    cli.main(command)
