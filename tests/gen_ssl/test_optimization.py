import pytest
import torch
from torch import nn

from gen_ssl.lars import LARS
from gen_ssl.optimization import OptimizerConfig, build_optimizer, learning_rate


def rates(config, *, steps, total_steps=None, batch_size=256):
    return [
        learning_rate(config, step=step, total_steps=total_steps or steps, batch_size=batch_size)
        for step in range(steps)
    ]


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    config = OptimizerConfig(learning_rate=8.0, warmup_steps=4)
    assert rates(config, steps=8) == pytest.approx([2, 4, 6, 8, 8, 8 * (2 + 2**0.5) / 4, 4, 8 * (2 - 2**0.5) / 4])


def test_after_the_planned_end_the_rate_is_zero():
    config = OptimizerConfig(learning_rate=8.0, warmup_steps=0)
    assert rates(config, steps=7, total_steps=5)[5:] == [0, 0]


def test_the_default_rate_of_lars_grows_with_the_batch():
    config = OptimizerConfig(optimizer="lars", warmup_steps=0)
    assert rates(config, steps=1, batch_size=512) == [0.6]
    assert rates(OptimizerConfig(warmup_steps=0), steps=1, batch_size=512) == [3e-4]


@pytest.mark.parametrize("optimizer", ["adamw", "lars"])
def test_biases_norms_tokens_and_positions_are_neither_decayed_nor_adapted(optimizer):
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2).requires_grad_(False))
    model.register_parameter("token", nn.Parameter(torch.ones(1, 1, 7)))
    model.register_parameter("positions", nn.Parameter(torch.ones(1, 11, 7)))
    built = build_optimizer(model, OptimizerConfig(optimizer=optimizer, weight_decay=0.1))
    matrices, vectors = built.param_groups
    assert [tuple(weight.shape) for weight in matrices["params"]] == [(5, 3)]
    assert {tuple(weight.shape) for weight in vectors["params"]} == {(5,), (1, 1, 7), (1, 11, 7)}
    assert len(vectors["params"]) == 5
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    if isinstance(built, LARS):
        assert (matrices["adapted"], vectors["adapted"]) == (True, False)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="learning_rate must be at least 0, got -1"):
        OptimizerConfig(learning_rate=-1.0)
    with pytest.raises(ValueError, match="max_gradient_norm must be greater than 0, got 0"):
        OptimizerConfig(max_gradient_norm=0.0)
