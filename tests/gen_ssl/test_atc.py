import copy
import math

import numpy as np
import pytest
import torch

from gen_ssl.atc import ATC, ATCConfig, atc_logits
from gen_ssl.contrast import info_nce
from gen_ssl.views import Compose, RandomShift

CONFIG = ATCConfig(steps_ahead=3, latent_dim=7, hidden_dim=13, momentum=0.9)


def contrast(predictions, targets):
    """Stooke et al. 2021, section 3: the mean over anchors of -log softmax of the own positive's logit."""
    losses = []
    for own, prediction in enumerate(predictions):
        logits = [prediction @ target for target in targets]
        losses.append(-math.log(math.exp(logits[own]) / sum(math.exp(logit) for logit in logits)))
    return sum(losses) / len(losses)


def linear(layer, inputs):
    bias = 0 if layer.bias is None else layer.bias.detach().numpy()
    return inputs @ layer.weight.detach().numpy().T + bias


def random_pairs():
    return np.random.default_rng(0).normal(size=(2, 5, 3))


def test_loss_and_gradient_are_those_of_the_paper(slopes):
    predictions, targets = random_pairs()
    ours = torch.from_numpy(predictions).requires_grad_()
    loss = info_nce(atc_logits(ours, torch.from_numpy(targets)))
    assert float(loss.detach()) == pytest.approx(contrast(predictions, targets), abs=1e-6)
    loss.backward()
    expected = slopes(lambda moved: contrast(moved, targets), predictions)
    np.testing.assert_allclose(ours.grad, expected, atol=1e-5)


def test_no_gradient_reaches_the_targets():
    predictions, targets = (torch.from_numpy(part).requires_grad_() for part in random_pairs())
    info_nce(atc_logits(predictions, targets)).backward()
    assert targets.grad is None
    assert predictions.grad is not None


def test_the_prediction_is_the_residual_mlp_and_the_bilinear_map_of_the_anchor(make_encoder, make_batch, generator):
    method = ATC(make_encoder(), CONFIG, views=RandomShift(3)).double()
    for weight in method.target_network.parameters():  # a target network that differs
        weight.mul_(0.7)
    batch = make_batch(num_times=2)
    standardise, target_network = copy.deepcopy((method.standardisation, method.target_network))
    output = method(batch, generator)
    again = torch.Generator().manual_seed(0)
    anchors, positives = (RandomShift(3)(stacks, again) for stacks in batch.stacks)
    codes = linear(method.compressor, standardise(method.encoder(anchors)).detach().numpy())
    hidden = np.maximum(linear(method.anchor_mlp[0], codes), 0)
    predictions = linear(method.bilinear, codes + linear(method.anchor_mlp[2], hidden))
    targets = target_network(positives).numpy()
    assert output.loss.item() == pytest.approx(contrast(predictions, targets), abs=1e-6)
    assert float(output.metrics["loss_at_chance"]) == pytest.approx(math.log(5))


def test_the_positive_is_the_stack_three_steps_later(make_encoder):
    assert ATC(make_encoder(), ATCConfig(), views=Compose()).time_offsets == (0, 3)


def test_the_target_network_follows_by_its_momentum_and_receives_no_gradient(make_encoder, make_batch, generator):
    method = ATC(make_encoder(), CONFIG, views=Compose()).double()
    optimizer = torch.optim.SGD([weight for weight in method.parameters() if weight.requires_grad], lr=0.1)
    start = [weight.clone() for weight in method.target_network.parameters()]
    method(make_batch(num_times=2), generator).loss.backward()
    assert all(weight.grad is None for weight in method.target_network.parameters())
    optimizer.step()
    method.after_step()
    leaders = [*method.encoder.parameters(), *method.compressor.parameters()]
    for follower, before, leader in zip(method.target_network.parameters(), start, leaders, strict=True):
        torch.testing.assert_close(follower, 0.9 * before + 0.1 * leader)


def test_anchor_and_positive_can_be_seen(make_encoder, make_batch, generator):
    batch = make_batch(num_times=2)
    pictures = ATC(make_encoder(), CONFIG, views=Compose()).pictures(batch, generator)["view_pairs"]
    assert torch.equal(pictures, torch.cat([stacks[:, -1:] for stacks in batch.stacks], dim=3))


def test_a_batch_of_one_or_of_one_time_is_refused(make_encoder, make_batch, generator):
    method = ATC(make_encoder(), CONFIG, views=Compose()).double()
    with pytest.raises(ValueError, match="a contrastive loss needs at least 2 samples in a batch, got 1"):
        method(make_batch(num_times=2, batch_size=1), generator)
    message = r"this method takes 2 stacks per sample \(time offsets \(0, 3\)\), got 1"
    with pytest.raises(ValueError, match=message):
        method(make_batch(), generator)


def test_a_positive_that_is_not_later_is_refused():
    with pytest.raises(ValueError, match="steps_ahead must be at least 1, got 0"):
        ATCConfig(steps_ahead=0)
