"""The benchmark's tables, from results made by hand; its timings are not tested."""

from experiments import benchmark_page as speed
from experiments import timing

SECONDS = {
    "mnistsum float32": [0.02, 0.04, 0.02],
    "mnistsum bfloat16": [0.01, 0.02, 0.01],
    "PyTorch float32": [0.03, 0.03, 0.03],
    "PyTorch bfloat16": [0.06, 0.06, 0.06],
}
ROW = {"seconds": SECONDS, "variants": dict.fromkeys(SECONDS, "eager"), "operations": 6}


def test_each_ratio_is_of_one_type_in_one_round_and_the_last_is_of_each_sides_faster_type():
    assert [
        line[1:]
        for line in speed.tabulate_row("step", ROW, {"float32": 500, "bfloat16": 1_000})
    ] == [
        ["float32", "20.0", "30.0", "eager", "1.50 (0.750-1.50)", "60%", "40%"],
        ["bfloat16", "10.0", "60.0", "eager", "6.00 (3.00-6.00)", "60%", "10%"],
        [
            "each side's faster",
            "10.0",
            "30.0",
            "eager",
            "3.00 (1.50-3.00)",
            "60%",
            "40%",
        ],
    ]


def test_turns_alternate_in_order_after_one_that_warms_up():
    calls = []
    timing.interleave({name: lambda name=name: calls.append(name) for name in "ab"}, 2)
    assert calls == [*"ab", *"ab", *"ba"]
