"""A comparison's tables, as they are printed and written."""

from programs import LABELS, a_run

from experiments.comparison import tables
from experiments.comparison.measures import spread, summarize_runs


def summarized(*names, **runs):
    """Return the summary of configs of two equal seeds, or of the runs given."""
    runs = {name: [a_run(name, seed) for seed in range(2)] for name in names} | runs
    return summarize_runs(runs, LABELS) | tables.describe(runs, "compare")


def test_seconds_of_other_machines_are_replaced_by_the_reason_and_the_notes_name_all_machines():
    assert "Times were measured on 2 cores of CPU, seeds one by one" in tables.notes(summarized("a", "b"))
    summary = summarized("a", b=[a_run("b", seed, run={"cores": 1}) for seed in range(2)])
    costs = next(table for table in tables.summary_tables(summary) if table.title == "Cost")
    first, second = (dict(zip(costs.header, row, strict=True)) for row in costs.rows)
    for column in ("training, s", "s to 98.8 %"):
        assert second[column] == "other machine or mode" != first[column]
    assert second["multiply-adds"] == first["multiply-adds"] == "20"
    each = "a on 2 cores of CPU, seeds one by one; b on 1 core of CPU, seeds one by one"
    assert f"compared only between runs of one kind of machine and one mode: {each}" in tables.in_markdown(summary, [])


def test_what_a_reader_must_know_is_noted():
    failed, alike = a_run("b", 1), a_run("b", 0)
    failed.summary["failure"], alike.summary["weights"] = "loss not finite at step 3", "a-0"
    summary = summarized("a", b=[alike, failed])
    summary["tuned"] = {"a": {"trials": [], "note": "tuning stopped at its limit"}, "b": {"trials": [], "note": None}}
    assert tables.notes(summary)[:-1] == [
        "Warning: a, b: several runs ended with the same weights, bit for bit",
        "Failed, but included: b: seed 1: loss not finite at step 3",
        "a: tuning stopped at its limit",
    ]


def test_a_mean_over_some_seeds_says_of_how_many():
    assert tables.format_spread(spread([0.5, 0.7, None]), "%") == "60.00 ± 14.14 (2 of 3)"
    assert tables.format_spread(spread([0.5]), "%") == "50.00"
