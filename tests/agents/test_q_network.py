import pytest
import torch

from agents import DuelingHead, LinearHead, QNetwork
from agents.encoder import Encoder
from gen_ssl.encoders import ENCODERS

FRAMES = (3, 48, 36)  # sides that a ViT's patches of 12 pixels divide


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_of_gen_ssl_is_what_agents_call_an_encoder(name):
    encoder = ENCODERS[name](frame_shape=FRAMES)
    assert isinstance(encoder, Encoder)
    for head in (LinearHead, DuelingHead):
        network = QNetwork(encoder, observation_shape=FRAMES, num_actions=7, head=head)
        assert network(torch.zeros(2, *FRAMES, dtype=torch.uint8)).shape == (2, 7)


def test_dueling_values_are_the_state_value_plus_centred_advantages():
    head = DuelingHead(5, 3)
    features = torch.randn(7, 5)
    values = head(features).squeeze(2)
    torch.testing.assert_close(values.mean(dim=1, keepdim=True), head.state_value(features))
    advantage = head.advantage(features)
    torch.testing.assert_close(values[:, 0] - values[:, 2], advantage[:, 0] - advantage[:, 2])


@pytest.mark.parametrize("head", [LinearHead, DuelingHead])
def test_a_value_is_the_mean_of_its_quantiles(head):
    encoder = ENCODERS["DQN2013CNN"](frame_shape=FRAMES)
    network = QNetwork(encoder, observation_shape=FRAMES, num_actions=7, head=head, num_quantiles=5)
    frames = torch.randint(256, (2, *FRAMES), dtype=torch.uint8)
    assert network.quantiles(frames).shape == (2, 7, 5)
    torch.testing.assert_close(network(frames), network.quantiles(frames).mean(dim=2))


def test_no_quantiles_are_refused():
    with pytest.raises(ValueError, match="num_quantiles must be at least 1, got 0"):
        QNetwork(ENCODERS["DQN2013CNN"](frame_shape=FRAMES), observation_shape=FRAMES, num_actions=7, num_quantiles=0)


def test_an_encoder_for_other_frames_is_refused_with_both_shapes():
    encoder = ENCODERS["DQN2013CNN"](frame_shape=FRAMES)
    with pytest.raises(ValueError, match=r"frames of shape \(3, 48, 36\), the environment gives \(4, 84, 84\)"):
        QNetwork(encoder, observation_shape=(4, 84, 84), num_actions=7)


def test_an_encoder_without_parameters_of_its_own_module_is_refused():
    class NotAModule:
        frame_shape = FRAMES
        feature_dim = 5

        def __call__(self, frames):
            return frames.flatten(1)[:, :5].float()

    with pytest.raises(ValueError, match=r"must be a torch\.nn\.Module, got NotAModule"):
        QNetwork(NotAModule(), observation_shape=FRAMES, num_actions=7)


def test_values_keep_float32_when_convolutions_are_in_bfloat16():
    network = QNetwork(ENCODERS["DQN2013CNN"](frame_shape=FRAMES), observation_shape=FRAMES, num_actions=7)
    network.requires_grad_(False)
    network.head.action_values.bias.copy_(torch.linspace(1.0, 1.001, 7))  # equal after rounding to bfloat16
    network.head.action_values.weight.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        values = network(torch.zeros(2, *FRAMES, dtype=torch.uint8))
    torch.testing.assert_close(values, network.head.action_values.bias.expand(2, 7))
