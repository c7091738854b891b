import torch

from agents.targets import double_value, max_value, td_target


def test_the_target_is_reward_plus_discounted_next_value():
    target = td_target(torch.tensor([1.0, -1.0, 0.5]), torch.tensor([0.9, 0.0, 0.81]), torch.tensor([2.0, 5.0, -1.0]))
    torch.testing.assert_close(target, torch.tensor([2.8, -1.0, -0.31]))


def test_no_gradient_flows_through_the_target():
    next_value = torch.ones(3, requires_grad=True)
    assert not td_target(torch.ones(3), torch.ones(3), next_value).requires_grad


def test_q_learning_takes_the_largest_target_value():
    values = torch.tensor([[1.0, 3.0, 2.0], [-1.0, -3.0, -2.0]])
    torch.testing.assert_close(max_value(values), torch.tensor([3.0, -1.0]))


def test_double_q_learning_takes_the_target_value_of_the_online_argmax():
    target_values = torch.tensor([[1.0, 3.0, 2.0], [-1.0, -3.0, -2.0]])
    online_values = torch.tensor([[0.0, 0.0, 9.0], [0.0, 5.0, 1.0]])
    torch.testing.assert_close(double_value(target_values, online_values), torch.tensor([2.0, -3.0]))
