import numpy as np
import pytest
import torch

from gen_ssl.lars import LARS


def lars_of_the_paper(weights, gradients, *, rate, momentum, decay, trust):
    """You et al. 2017, algorithm 1; yields the weights after each step."""
    velocity = np.zeros_like(weights)
    for gradient in gradients:
        local = trust * np.linalg.norm(weights) / (np.linalg.norm(gradient) + decay * np.linalg.norm(weights))
        velocity = momentum * velocity + rate * local * (gradient + decay * weights)
        weights = weights - velocity
        yield weights


def test_steps_are_those_of_the_paper():
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(3, 5)), random.normal(size=(7, 3, 5))
    weights = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = LARS([weights], lr=0.3, momentum=0.9, weight_decay=0.01, trust=0.02)
    expected = lars_of_the_paper(start, gradients, rate=0.3, momentum=0.9, decay=0.01, trust=0.02)
    for gradient, after in zip(gradients, expected, strict=True):
        weights.grad = torch.from_numpy(gradient)
        optimizer.step()
        np.testing.assert_allclose(weights.detach(), after, atol=1e-6)


def test_a_group_that_is_not_adapted_takes_plain_steps_with_momentum():
    weights = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = LARS([{"params": [weights], "adapted": False, "weight_decay": 0.0}], lr=0.5, momentum=0.9)
    for _ in range(2):
        weights.grad = torch.tensor([1.0, -1.0], dtype=torch.float64)
        optimizer.step()
    torch.testing.assert_close(weights.detach(), torch.tensor([1 - 0.5 - 0.95, 2 + 0.5 + 0.95], dtype=torch.float64))


def test_weights_or_gradients_of_zeros_do_not_stop_or_explode():
    weights = torch.nn.Parameter(torch.zeros(2, 3))
    optimizer = LARS([weights], lr=0.5, weight_decay=0.0)
    weights.grad = torch.ones(2, 3)
    optimizer.step()
    torch.testing.assert_close(weights.detach(), torch.full((2, 3), -0.5))
    weights.grad = torch.zeros(2, 3)
    optimizer.step()
    torch.testing.assert_close(weights.detach(), torch.full((2, 3), -0.95))


def test_weights_without_a_gradient_stay_and_a_closure_is_called():
    weights = [torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
    optimizer = LARS(weights, lr=0.1)

    def closure():
        loss = weights[0].square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert not torch.equal(weights[0], torch.ones(2, 2))
    assert torch.equal(weights[1], torch.ones(2, 2))


def test_a_saved_optimiser_goes_on_with_its_velocity():
    ends = []
    for save in (False, True):
        weights = torch.nn.Parameter(torch.ones(2, 2))
        optimizer = LARS([weights], lr=0.1)
        weights.grad = torch.ones(2, 2)
        optimizer.step()
        if save:
            state = optimizer.state_dict()
            optimizer = LARS([weights], lr=0.1)
            optimizer.load_state_dict(state)
        optimizer.step()
        ends.append(weights.detach())
    assert torch.equal(*ends)


def test_negative_settings_are_refused():
    with pytest.raises(ValueError, match="lr must be at least 0, got -0.1"):
        LARS([torch.nn.Parameter(torch.ones(1))], lr=-0.1)
