"""Any command line is understood and can run here, or is refused with status 2 and one line of ours or tyro's hint."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import cli
from experiments.comparison import options as comparison
from experiments.run import Run
from experiments.training import resources
from mnistsum.config import Config, as_dict
from mnistsum.errors import InputError
from mnistsum.models.summary import count_multiply_adds, count_parameters
from mnistsum.registry import ADDERS, CLASSIFIERS

FIELDS = as_dict(Config())
ODD = ("", "nan", "inf", "-inf", "-1", "0", "1e400", "1e-400", "9" * 400, "None", "True", "\x00", "\u2028", "x" * 999)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "model.classifier": st.sampled_from(sorted(CLASSIFIERS)),
    "model.adder": st.sampled_from(sorted(ADDERS)),
    "model.widths": st.lists(st.sampled_from([0, 1, 2, 3, 7, 16, 64, 10**12]), max_size=8).map(
        lambda widths: ",".join(map(str, widths))
    ),
}


def value_of(field: str) -> st.SearchStrategy[str]:
    """Return a strategy of values for a field, right or wrong."""
    right = VALUES.get(field, st.one_of(st.integers().map(str), st.floats().map(str), st.just(str(FIELDS[field]))))
    return st.one_of(right, st.sampled_from(ODD), st.text(max_size=8))


WORDS = ("base", "mlp", "base+model.adder=shift", "runs", "nowhere.py", "--tune", "--seeds", "3", "--output=x")
OVERRIDES = st.lists(
    st.sampled_from(sorted(FIELDS)).flatmap(lambda field: value_of(field).map(lambda value: f"{field}={value}")),
    min_size=1,
    max_size=4,
)


def understood(parse: Any) -> Any:
    """Return the parsed command line; None if it is refused as it should be."""
    try:
        return parse()
    except InputError as error:
        assert "\n" not in str(error)
    except SystemExit as exit_:  # tyro's own refusals
        assert exit_.code == 2
    return None


def command_lines(examples: int):
    """Return a test of `examples` command lines."""

    @settings(max_examples=examples, deadline=20_000, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(OVERRIDES)
    def test(overrides):
        options = understood(lambda: cli.parse(Run, ["--config", "smoke", *overrides]))
        if options is not None:
            understood(lambda: possible(options.settings))

    return test


def possible(config: Config) -> None:
    """Check what a run checks before its first step, except the data."""
    resources.check([config], 55_000)
    count_parameters(config.model)
    count_multiply_adds(config.model)


test_any_override_is_possible_or_refused_in_a_line = command_lines(40)
test_more_overrides = pytest.mark.slow(command_lines(800))


@settings(max_examples=30, deadline=20_000, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.sampled_from([["base", "mlp"], []]),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=6)), max_size=3),
    st.one_of(st.just([]), OVERRIDES),
)
def test_any_comparison_is_possible_or_refused_in_a_line(configs, words, overrides):
    parsed = understood(lambda: comparison.parse([*configs, *words, *overrides]))
    for config in parsed[1] if parsed else []:
        understood(lambda config=config: possible(config))
