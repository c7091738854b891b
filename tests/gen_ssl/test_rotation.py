import math

import numpy as np
import pytest
import torch

from gen_ssl.rotation import Rotation, RotationConfig, all_turns

SQUARE = (2, 29, 29)


def cross_entropy_of_the_paper(logits):
    """Gidaris et al. 2018, eq. 2 and 3, for logits of (turns, stacks, turns)."""
    losses = [
        -math.log(math.exp(row[turn]) / sum(math.exp(value) for value in row))
        for turn, rows in enumerate(logits)
        for row in rows
    ]
    return sum(losses) / len(losses)


def test_all_turns_are_quarter_turns_of_every_stack():
    frames = torch.randint(0, 256, (3, 2, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = np.concatenate([np.rot90(frames.numpy(), turn, (2, 3)) for turn in range(4)])
    np.testing.assert_array_equal(all_turns(frames), expected)


@pytest.mark.parametrize("border", [0, 4])
def test_a_step_is_the_cross_entropy_over_all_turns(make_encoder, make_batch, generator, border):
    method = Rotation(make_encoder(SQUARE), RotationConfig(hidden_border=border)).double()
    batch = make_batch(frame_shape=SQUARE)
    frames = batch.stacks[0].numpy()
    inner = np.zeros_like(frames)
    window = slice(border, 29 - border)
    inner[:, :, window, window] = frames[:, :, window, window]
    logits = [
        method.classifier(method.encoder(torch.from_numpy(np.rot90(inner, turn, (2, 3)).copy()))).tolist()
        for turn in range(4)
    ]
    output = method(batch, generator)
    assert output.loss.item() == pytest.approx(cross_entropy_of_the_paper(logits), abs=1e-6)
    assert float(output.metrics["loss_at_chance"]) == pytest.approx(math.log(4))
    hits = [int(np.argmax(row)) == turn for turn, rows in enumerate(logits) for row in rows]
    assert float(output.metrics["accuracy"]) == pytest.approx(np.mean(hits))


def test_the_gradient_of_the_classifier_is_that_of_the_paper(make_encoder, make_batch, generator, slopes):
    method = Rotation(make_encoder(SQUARE), RotationConfig()).double()
    batch = make_batch(frame_shape=SQUARE, batch_size=2)
    method(batch, generator).loss.backward()
    features = method.encoder(all_turns(batch.stacks[0])).detach().numpy().reshape(4, 2, -1)
    bias = method.classifier.bias.detach().numpy()
    expected = slopes(
        lambda weights: cross_entropy_of_the_paper(features @ weights.T + bias),
        method.classifier.weight.detach().numpy(),
    )
    np.testing.assert_allclose(method.classifier.weight.grad, expected, atol=1e-5)


def test_what_stands_in_the_hidden_border_does_not_matter(make_encoder, make_batch, generator):
    method = Rotation(make_encoder(SQUARE), RotationConfig(hidden_border=3)).double()
    batch = make_batch(frame_shape=SQUARE)
    with_score = batch._replace(stacks=batch.stacks.clone())
    with_score.stacks[..., :3, 5:20] = 236
    assert torch.equal(method(batch, generator).loss, method(with_score, generator).loss)


def test_all_turns_can_be_seen(make_encoder, make_batch, generator):
    batch = make_batch(frame_shape=SQUARE)
    pictures = Rotation(make_encoder(SQUARE), RotationConfig()).pictures(batch, generator)["turns"]
    assert torch.equal(pictures, all_turns(batch.stacks[0, :1])[:, -1:])


def test_frames_that_are_not_square_or_hidden_altogether_are_refused(make_encoder):
    with pytest.raises(ValueError, match="rotation prediction needs square frames, got 29x37 pixels"):
        Rotation(make_encoder(), RotationConfig())
    with pytest.raises(ValueError, match="hidden_border must leave something of 29x29 pixels, got 15"):
        Rotation(make_encoder(SQUARE), RotationConfig(hidden_border=15))
    with pytest.raises(ValueError, match="hidden_border must be at least 0, got -1"):
        RotationConfig(hidden_border=-1)
