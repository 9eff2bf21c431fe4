"""The grid's points and their order, against what heareval searches and scikit-learn's ParameterGrid."""

from __future__ import annotations

import random

import pytest
from sklearn.model_selection import ParameterGrid

from benchmarks.scoring.hear.grid import GRIDS, HeadConfig, grid_configs, postprocessing_configs
from hear_delores.errors import DeloresError

# hidden layers / learning rate / initialisation, as heareval 2021.1.3 searches the default grid
DEFAULT_EIGHT = [
    (1, 1e-4, "normal"),
    (2, 1e-3, "uniform"),
    (1, 1e-3, "normal"),
    (1, 3.2e-4, "normal"),
    (2, 3.2e-4, "normal"),
    (2, 3.2e-4, "uniform"),
    (2, 3.2e-3, "normal"),
    (2, 3.2e-3, "uniform"),
]
# hidden layers / dim / lr / patience / initialisation of its "faster" points, from its logs
FASTER_EIGHT = [
    (1, 64, 1e-4, 3, "uniform"),
    (1, 64, 3.2e-3, 3, "normal"),
    (0, 64, 1e-4, 3, "uniform"),
    (1, 64, 1e-4, 1, "uniform"),
    (0, 128, 3.2e-4, 3, "normal"),
    (0, 128, 3.2e-3, 3, "uniform"),
    (1, 64, 1e-3, 3, "uniform"),
    (1, 128, 1e-3, 3, "normal"),
]


def short(config: HeadConfig) -> tuple[int, float, str]:
    return config.hidden_layers, config.lr, config.initialization.split("_")[1]


def test_the_eight_default_points_in_order():
    assert [short(config) for config in grid_configs({})] == DEFAULT_EIGHT
    assert all((c.patience, c.max_epochs, c.check_val_every_n_epoch) == (20, 500, 3) for c in grid_configs({}))
    assert all((c.batch_size, c.hidden_dim, c.dropout) == (1024, 1024, 0.1) for c in grid_configs({}))


def test_the_eight_faster_points_in_order():
    found = [
        (c.hidden_layers, c.hidden_dim, c.lr, c.patience, c.initialization.split("_")[1])
        for c in grid_configs({}, "faster")
    ]
    assert found == FASTER_EIGHT


@pytest.mark.parametrize(("grid", "size"), [("default", 16), ("fast", 64), ("faster", 64)])
def test_each_grid_is_the_seeded_shuffle_of_scikit_learns(grid, size):
    expected = list(ParameterGrid(GRIDS[grid]))
    random.Random(42).shuffle(expected)
    found = [config.to_dict() for config in grid_configs({}, grid, 1000)]
    assert len(found) == size
    for point, want in zip(found, expected, strict=True):
        assert {name: point[name] for name in want} == want


def test_the_shuffle_is_that_of_the_global_generator_seeded_42():
    kept = random.getstate()
    random.seed(42)
    confs = list(ParameterGrid(GRIDS["fast"]))
    random.shuffle(confs)
    random.setstate(kept)
    assert [c.max_epochs for c in grid_configs({}, "fast", 64)] == [conf["max_epochs"] for conf in confs]
    assert random.getstate() == kept


def test_tasks_have_their_own_grids():
    dcase = grid_configs({"task_name": "dcase2016_task2"})
    assert {config.check_val_every_n_epoch for config in dcase} == {10}
    assert [short(config) for config in dcase] == DEFAULT_EIGHT
    own = {"task_specific_param_grid": {"check_val_every_n_epoch": [1], "max_epochs": [50]}}
    maestro = grid_configs({"task_name": "maestro", "evaluation_params": own})
    assert {(c.check_val_every_n_epoch, c.max_epochs) for c in maestro} == {(1, 50)}


def test_the_postprocessing_grid():
    assert postprocessing_configs({}) == [
        {"median_filter_ms": 250, "min_duration": 125},
        {"median_filter_ms": 250, "min_duration": 250},
    ]
    own = {"event_postprocessing_grid": {"min_duration": [50], "median_filter_ms": [150]}}
    assert postprocessing_configs({"evaluation_params": own}) == [{"median_filter_ms": 150, "min_duration": 50}]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid_configs({}, "fastest"), "unknown grid 'fastest'. Did you mean 'faster'"),
        (lambda: grid_configs({}, "default", 0), "`grid_points` to be an integer >= 1"),
        (
            lambda: grid_configs({"evaluation_params": {"task_specific_param_grid": {"learning": [1]}}}),
            "unknown parameter 'learning'",
        ),
        (
            lambda: postprocessing_configs({"evaluation_params": {"event_postprocessing_grid": {"median": [1]}}}),
            "unknown parameter 'median'",
        ),
        (lambda: HeadConfig(optim="SGD"), "expected 'Adam', the only known value"),
        (
            lambda: HeadConfig(max_epochs=2),
            "2 epochs end before the first validation, which comes after 3; raise max_epochs",
        ),
        (lambda: HeadConfig(initialization="zeros_"), "expected xavier_uniform_ or xavier_normal_"),
        (lambda: HeadConfig(batch_size=0), "batch_size: expected a whole number from 1 to"),
        (lambda: HeadConfig(dropout=1.0), "dropout: expected a number from 0.0 to 0.999, got 1.0"),
    ],
)
def test_bad_parameters(call, message):
    with pytest.raises(DeloresError, match=message):
        call()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"median_filter_ms": [-1]}, "median_filter_ms to be a number from 0 to .*, got -1"),
        ({"min_duration": [-0.5]}, "min_duration to be a number from 0"),
        ({"min_duration": [float("nan")]}, "min_duration to be a number from 0 to .*, got nan"),
        ({"median_filter_ms": [float("inf")]}, "got inf"),
        ({"median_filter_ms": [10**30]}, "median_filter_ms to be a number"),
        ({"threshold": [1.5]}, "threshold to be a number from 0 to 1, got 1.5"),
        ({"threshold": [True]}, "threshold to be a number from 0 to 1, got True"),
        ({"threshold": ["0.5"]}, "got '0.5'"),
        ({"threshold": 0.5}, "expected a list of values of threshold, got 0.5"),
        ({"threshold": []}, "expected a list of values of threshold"),
        ([1], "expected an object of parameters"),
        ({"threshold": [0.5] * 40, "min_duration": [1] * 40}, "at most 1,000 combinations"),
    ],
)
def test_bad_postprocessing(grid, message):
    with pytest.raises(DeloresError, match=message):
        postprocessing_configs({"evaluation_params": {"event_postprocessing_grid": grid}})


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([1], "expected an object of lists"),
        ({"lr": 0.1}, "expected a list of lr, got 0.1"),
        ({"lr": []}, "expected a list of lr"),
        ({"lr": ["x"]}, "head parameter lr: expected a number from .*, got 'x'"),
        ({"lr": [float("nan")]}, "head parameter lr: expected a number"),
        ({"hidden_layers": [10**9]}, "hidden_layers: expected a whole number from 0 to 64"),
        ({"hidden_dim": [True]}, "hidden_dim: expected a whole number from 1 to 65,536, got True"),
        ({"patience": [None]}, "patience: expected a whole number"),
        ({"initialization": [["x"]]}, "initialization: expected xavier_uniform_ or"),
        ({"lr": [1] * 1000, "dropout": [0] * 1000}, "at most 100,000 combinations"),
    ],
)
def test_a_bad_grid_of_the_task(own, message):
    with pytest.raises(DeloresError, match=message):
        grid_configs({"evaluation_params": {"task_specific_param_grid": own}})
