"""A comparison's tables, as they are printed and written."""

from programs import LABELS, a_run

from experiments.comparison import tables
from experiments.comparison.measures import spread, summarize_runs


def summarized(*names, **runs):
    """Return the summary of configs of two equal seeds, or of the runs given."""
    equal = {}
    for name in names:
        equal[name] = [a_run(name), a_run(name, 1)]
    runs = equal | runs
    return summarize_runs(runs, LABELS) | tables.describe_runs(runs, "compare")


def test_seconds_of_other_machines_are_replaced_by_the_reason():
    timed = "Times were measured on 2 cores of CPU, seeds one by one"
    assert timed in tables.notes(summarized("a", "b"))
    fewer = [a_run("b", seed, run={"cores": 1}) for seed in range(2)]
    summary = summarized("a", b=fewer)
    (costs,) = (each for each in tables.summary_tables(summary) if each.title == "Cost")
    first, second = (dict(zip(costs.header, row, strict=True)) for row in costs.rows)
    for column in ("training, s", "s to 98.8 %"):
        assert second[column] == "other machine or mode" != first[column]
    assert second["multiply-adds"] == first["multiply-adds"] == "20"
    each = "a on 2 cores of CPU, seeds one by one; b on 1 core of CPU, seeds one by one"
    reason = f"compared only between runs of one kind of machine and one mode: {each}"
    assert reason in tables.in_markdown(summary, [])


def test_what_a_reader_must_know_is_noted():
    failed = a_run("b", 1)
    alike = a_run("b", 0)
    failed.summary["failure"] = "loss not finite at step 3"
    alike.summary["weights"] = "a-0"
    summary = summarized("a", b=[alike, failed])
    summary["tuned"] = {
        "a": {"trials": [], "note": "tuning stopped at its limit"},
        "b": {"trials": [], "note": None},
    }
    assert tables.notes(summary)[:-1] == [
        "Warning: a, b: several runs ended with the same weights, bit for bit",
        "Failed, but included: b: seed 1: loss not finite at step 3",
        "a: tuning stopped at its limit",
    ]


def test_a_mean_over_some_seeds_says_of_how_many():
    some = tables.format_spread(spread([0.5, 0.7, None]), "%")
    assert some == "60.00 ± 14.14 (2 of 3)"
    assert tables.format_spread(spread([0.5]), "%") == "50.00"


def test_a_report_has_its_own_name_unless_its_runs_are_alike():
    def name(seeds=2, **run):
        return tables.report_name(
            {"a": [a_run("a", seed, run=run) for seed in range(seeds)]}
        )

    names = {
        name(),
        name(seeds=3),
        name(program={"training": "1"}),
        name(data={"test": "1"}),
    }
    assert len(names) == 4
    assert all(each.startswith("a-") for each in names)
    assert name(commit="0" * 40, started="2027-01-01T12:00:00+0000") == name()


def test_an_interval_ends_at_100_points():
    found = {"verdict": "undecided", "mean": 0.01, "low": -0.9, "high": 1.22}
    row = {
        "config": "b",
        "against_first": {"digit": found, "sum": found | {"low": -0.2, "high": 0.22}},
    }
    verdicts = tables._verdicts([{"config": "a"}, row])
    assert [cells[-1] for cells in verdicts.rows] == [
        "+1.00 [-90.00, +100.00]",
        "+1.00 [-20.00, +22.00]",
    ]
