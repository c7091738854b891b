import numpy as np
import pytest
import torch

from agents.targets import (
    munchausen_reward,
    quantile_huber_loss,
    return_of_action,
    return_of_best_action,
    soft_return,
    td_target,
)


def test_the_target_is_reward_plus_discounted_next_return_for_each_quantile():
    next_return = torch.tensor([[2.0, 4.0], [5.0, 6.0], [-1.0, 0.0]])
    target = td_target(torch.tensor([1.0, -1.0, 0.5]), torch.tensor([0.9, 0.0, 0.81]), next_return)
    torch.testing.assert_close(target, torch.tensor([[2.8, 4.6], [-1.0, -1.0], [-0.31, 0.5]]))


def test_no_gradient_flows_through_the_target():
    next_return = torch.ones(3, 2, requires_grad=True)
    assert not td_target(torch.ones(3), torch.ones(3), next_return).requires_grad


def test_q_learning_takes_the_largest_target_value():
    values = torch.tensor([[1.0, 3.0, 2.0], [-1.0, -3.0, -2.0]])
    best = return_of_best_action(values.unsqueeze(2), values)
    torch.testing.assert_close(best, torch.tensor([[3.0], [-1.0]]))


def test_double_q_learning_takes_the_target_value_of_the_online_argmax():
    target_values = torch.tensor([[1.0, 3.0, 2.0], [-1.0, -3.0, -2.0]])
    online_values = torch.tensor([[0.0, 0.0, 9.0], [0.0, 5.0, 1.0]])
    best = return_of_best_action(target_values.unsqueeze(2), online_values)
    torch.testing.assert_close(best, torch.tensor([[2.0], [-3.0]]))


def test_the_return_of_an_action_has_all_its_quantiles():
    quantiles = torch.arange(30.0).reshape(2, 3, 5)
    torch.testing.assert_close(return_of_action(quantiles, torch.tensor([2, 0])), quantiles[[0, 1], [2, 0]])


def test_the_soft_return_is_the_policys_own_and_its_entropy():
    # Values 0 and T ln 3: the policy takes them with probabilities 1/4 and 3/4.
    temperature, values = 0.5, torch.tensor([[0.0, 0.5 * np.log(3)]], dtype=torch.float64)
    quantiles = torch.tensor([[[-1.0, 1.0], [2.0, 4.0]]], dtype=torch.float64)
    entropy = 0.25 * np.log(4) + 0.75 * np.log(4 / 3)
    expected = torch.tensor([[1.25, 3.25]], dtype=torch.float64) + temperature * entropy
    torch.testing.assert_close(soft_return(quantiles, values, temperature), expected)


def test_a_cold_soft_return_is_that_of_the_best_action():
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    soft = soft_return(values.unsqueeze(2), values, 1e-4)
    torch.testing.assert_close(soft, return_of_best_action(values.unsqueeze(2), values), rtol=0, atol=2e-4)


def test_the_munchausen_reward_is_the_log_policy_down_to_its_floor():
    values = torch.tensor([[0.0, 0.5 * np.log(3)]], dtype=torch.float64).expand(2, 2)
    reward = munchausen_reward(values, torch.tensor([0, 1]), 0.5, -1.0)
    torch.testing.assert_close(reward, 0.5 * torch.log(torch.tensor([0.25, 0.75], dtype=torch.float64)))
    far = munchausen_reward(torch.tensor([[0.0, 1e6]]), torch.tensor([0]), 0.03, -1.0)
    assert far.tolist() == [-1.0]


def published_quantile_loss(predicted, target):
    """Equation 10 and algorithm 1 of Dabney et al. 2018, one pair of quantiles at a time."""
    losses = []
    for thetas, targets in zip(predicted, target, strict=True):
        total = 0.0
        for i, theta in enumerate(thetas):
            level = (2 * (i + 1) - 1) / (2 * len(thetas))
            for value in targets:
                u = value - theta
                huber = 0.5 * u**2 if abs(u) <= 1 else abs(u) - 0.5
                total += abs(level - (u < 0)) * huber / len(targets)
        losses.append(total)
    return np.array(losses)


def test_the_quantile_loss_is_the_published_double_sum():
    generator = np.random.default_rng(0)
    predicted, target = generator.normal(size=(3, 5)) * 2, generator.normal(size=(3, 7)) * 2
    loss = quantile_huber_loss(torch.from_numpy(predicted), torch.from_numpy(target))
    np.testing.assert_allclose(loss.numpy(), published_quantile_loss(predicted, target), rtol=1e-12)


def test_fitted_quantiles_are_those_of_the_targets():
    # Levels 1/6, 1/2, 5/6 of a uniform distribution on [0, 90]; far wider than the Huber loss's square part.
    target = torch.linspace(0, 90, 901, dtype=torch.float64).unsqueeze(0)
    predicted = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([predicted], lr=0.3)
    for _ in range(1_500):
        optimizer.zero_grad()
        quantile_huber_loss(predicted, target).sum().backward()
        optimizer.step()
    assert predicted.detach()[0].tolist() == pytest.approx([15, 45, 75], abs=1.0)
