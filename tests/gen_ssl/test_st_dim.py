import math

import numpy as np
import pytest
import torch

from gen_ssl.contrast import info_nce
from gen_ssl.st_dim import STDIM, STDIMConfig, place_logits


def info_nce_at_places(predictions, targets):
    """Anand et al. 2019, eq. 1 and 2, place by place: the mean over places and samples of -log softmax."""
    losses = []
    for place_predictions, place_targets in zip(predictions, targets, strict=True):
        for own, prediction in enumerate(place_predictions):
            scores = [prediction @ target for target in place_targets]
            losses.append(-math.log(math.exp(scores[own]) / sum(math.exp(score) for score in scores)))
    return sum(losses) / len(losses)


def linear(layer, inputs):
    return inputs @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def test_loss_and_gradients_are_those_of_the_paper(slopes):
    predictions, targets = np.random.default_rng(0).normal(size=(2, 3, 5, 2))  # places, samples, features
    ours = [torch.from_numpy(part).requires_grad_() for part in (predictions, targets)]
    loss = info_nce(place_logits(*ours))
    assert float(loss.detach()) == pytest.approx(info_nce_at_places(predictions, targets), abs=1e-6)
    loss.backward()
    np.testing.assert_allclose(
        ours[0].grad, slopes(lambda moved: info_nce_at_places(moved, targets), predictions), atol=1e-5
    )
    np.testing.assert_allclose(
        ours[1].grad, slopes(lambda moved: info_nce_at_places(predictions, moved), targets), atol=1e-5
    )


def test_a_step_adds_the_global_and_the_local_loss_over_all_places(make_encoder, make_batch, generator):
    method = STDIM(make_encoder(), STDIMConfig()).double()
    batch = make_batch(num_times=2)
    output = method(batch, generator)
    now, later = (method.encoder.spatial_features(stacks).detach().numpy() for stacks in batch.stacks)
    assert now.shape == (5, 32, 2, 3)
    places = [(y, x) for y in range(2) for x in range(3)]
    targets = [later[:, :, y, x] for y, x in places]
    from_local = [linear(method.local_local, now[:, :, y, x]) for y, x in places]
    features = method.encoder(batch.stacks[0]).detach().numpy()
    from_global = [linear(method.global_local, features)] * len(places)
    expected = info_nce_at_places(from_global, targets) + info_nce_at_places(from_local, targets)
    assert output.loss.item() == pytest.approx(expected, abs=1e-6)
    assert float(output.metrics["loss_at_chance"]) == pytest.approx(2 * math.log(5))


def test_the_pair_is_a_stack_and_the_next_one(make_encoder):
    assert STDIM(make_encoder(), STDIMConfig()).time_offsets == (0, 1)


def test_a_batch_of_one_or_of_one_time_is_refused(make_encoder, make_batch, generator):
    method = STDIM(make_encoder(), STDIMConfig()).double()
    with pytest.raises(ValueError, match="a contrastive loss needs at least 2 samples in a batch, got 1"):
        method(make_batch(num_times=2, batch_size=1), generator)
    with pytest.raises(ValueError, match=r"this method takes 2 stacks per sample \(time offsets \(0, 1\)\), got 1"):
        method(make_batch(), generator)


def test_a_pair_that_is_no_pair_is_refused():
    with pytest.raises(ValueError, match="steps_ahead must be at least 1, got 0"):
        STDIMConfig(steps_ahead=0)
