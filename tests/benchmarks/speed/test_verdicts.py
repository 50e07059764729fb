import numpy as np
import pytest

from benchmarks.speed.verdicts import (
    Target,
    against_baseline,
    against_targets,
    interval,
    judged,
    read_targets,
)

BLOCKS = 14


def blocks(middle: float, seed: int, noise: float = 0.03) -> list[float]:
    """A row as a run gives it: ratios about `middle`, now and then one far off."""
    rng = np.random.default_rng(seed)
    values = middle * rng.lognormal(0, noise, BLOCKS)
    values[rng.integers(BLOCKS)] *= 1.5  # a block that something else disturbed
    return values.tolist()


def test_the_interval_of_equal_values_is_that_value():
    assert interval([2.0] * 5) == (2.0, 2.0)


def test_the_interval_holds_the_true_median_almost_always():
    held = [
        low <= 1 <= high
        for seed in range(200)
        for low, high in [interval(np.random.default_rng(seed).normal(1, 0.1, 20).tolist())]
    ]
    assert sum(held) >= 190


@pytest.mark.parametrize(
    ("values", "at_most", "state"),
    [
        ([1.1, 1.2, 1.15], True, "kept"),
        ([1.3, 1.4, 1.35], True, "broken"),
        ([1.2, 1.3, 1.25], True, "unsure"),
        ([1.3, 1.4, 1.35], False, "kept"),
        ([1.1, 1.2, 1.15], False, "broken"),
    ],
)
def test_a_row_breaks_if_its_whole_interval_lies_beyond_the_limit(values, at_most, state):
    assert judged("row", values, 1.25, at_most).state == state


def test_how_far_a_target_is_missed():
    assert judged("row", [1.5], 1.25, True).beyond == pytest.approx(0.2)
    assert judged("row", [0.72], 0.9, False).beyond == pytest.approx(0.2)
    assert judged("row", [1.0], 1.25, True).beyond == pytest.approx(-0.2)


def test_a_step_that_is_a_fifth_slower_is_named():
    baseline = {"document_preprocess": 0.5, "document_yolo": 0.9}
    for seed in range(50):
        rows = {
            "document_preprocess": blocks(0.5 * 1.2, seed),
            "document_yolo": blocks(0.9, seed + 1000),
        }
        broken = [each.row for each in against_baseline(rows, baseline) if each.state == "broken"]
        assert broken == ["document_preprocess"]


def test_unchanged_code_stays_green_though_runs_differ():
    for seed in range(200):
        drift = np.random.default_rng(seed).normal(1, 0.02)
        (verdict,) = against_baseline({"row": blocks(0.5 * drift, seed)}, {"row": 0.5})
        assert verdict.state != "broken"


def test_a_run_without_a_row_of_the_baseline_is_no_pass():
    with pytest.raises(KeyError, match="document_yolo"):
        against_baseline({}, {"document_yolo": 1.0})


@pytest.mark.parametrize("fields", ["{at_most: 1}", "{at_most: 1, at_least: 0, what: x}"])
def test_a_target_without_one_limit_and_words_is_refused(tmp_path, fields):
    (tmp_path / "targets.yaml").write_text(f"start: {fields}")
    with pytest.raises(ValueError, match=r"targets\.yaml: start: \["):
        read_targets(tmp_path / "targets.yaml")


def test_targets_judge_the_rows_that_were_measured():
    targets = {
        "a": Target(2, at_most=True, what=""),
        "b": Target(1, at_most=False, what=""),
        "c": Target(1, at_most=True, what=""),
    }
    verdicts = against_targets({"b": [0.5], "a": [1.5]}, targets)
    assert [(each.row, each.state) for each in verdicts] == [("a", "kept"), ("b", "broken")]
