"""A comparison's tables, as they are printed and written."""

from programs import LABELS, a_run

from experiments.comparison import tables
from experiments.comparison.measures import spread, summarize_runs
from mnistsum.app.console import console


def summarized(*names, **runs):
    """Return the summary of configs of two equal seeds, or of the runs given."""
    summary = summarize_runs({name: [a_run(name, seed) for seed in range(2)] for name in names} | runs, LABELS)
    return summary | {"tuned": {}, "notes": [], "command": "compare", "made_with": {"jax": "1"}}


def printed(summary) -> str:
    with console.capture() as captured:
        tables.print_tables(summary)
    return captured.get()


def test_seconds_of_other_machines_are_replaced_by_the_reason_and_the_terminal_names_all_machines():
    assert "Times were measured on 2 cores of CPU, seeds one by one" in printed(summarized("a", "b"))
    summary = summarized("a", b=[a_run("b", seed, run={"cores": 1}) for seed in range(2)])
    costs = next(table for table in tables.summary_tables(summary) if table.title == "Cost")
    first, second = (dict(zip(costs.header, row, strict=True)) for row in costs.rows)
    for column in ("training, s", "s to 98.8 %", "images/s"):
        assert second[column] == "other machine" != first[column]
    assert second["multiply-adds"] == first["multiply-adds"] == "20"
    each = "a on 2 cores of CPU, seeds one by one; b on 1 core of CPU, seeds one by one"
    for text in (printed(summary), tables.in_markdown(summary)):
        assert f"compared only between runs of one kind of machine and one mode: {each}" in text


def test_what_a_reader_must_know_is_noted():
    summary = summarized("a", "b")
    summary["rows"][1]["failed"] = ["seed 1: loss not finite at step 3"]
    summary["alarms"] = ["b, seed 0: ended with the weights of a, seed 0, bit for bit"]
    summary["tuned"] = {"a": {"trials": [], "at_the_edge": True}, "b": {"trials": [], "at_the_edge": False}}
    output = printed(summary)
    for note in (
        "Warning: b, seed 0: ended with the weights of a",
        "Failed, but included: b: seed 1: loss not finite at step 3",
        "a: tuning stopped at its limit",
    ):
        assert output.count(note) == 1
    assert "b: tuning" not in output


def test_a_mean_over_some_seeds_says_of_how_many():
    assert tables.format_spread(spread([0.5, 0.7, None]), "%") == "60.00 ± 14.14 (2 of 3)"
    assert tables.format_spread(spread([0.5]), "%") == "50.00"
