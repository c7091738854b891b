import numpy as np
import pytest
import torch

from gen_ssl.conditional_vae import ConditionalVAE, ConditionalVAEConfig
from gen_ssl.vae import VAEConfig

SIZES = VAEConfig(beta=2.0, pixel_deviation=0.3, latent_dim=5, decoder_width=2)


def make_method(encoder, condition="action", num_classes=3):
    config = ConditionalVAEConfig(condition=condition, vae=SIZES)
    return ConditionalVAE(encoder, config, num_classes=num_classes).double()


@pytest.mark.parametrize(("condition", "num_classes"), [("action", 3), ("game", 2)])
def test_a_step_is_the_negative_elbo_given_the_class(make_encoder, make_batch, generator, condition, num_classes):
    method = make_method(make_encoder(), condition, num_classes)
    batch = make_batch()
    output = method(batch, generator)
    classes = (batch.actions if condition == "action" else batch.games).numpy()
    known = np.eye(num_classes)[classes]
    features = method.encoder(batch.stacks[0]).detach().numpy()
    mean, log_variance = (
        part.detach().numpy() for part in method.posterior(torch.from_numpy(np.hstack([features, known])))
    )
    noise = torch.randn((5, 5), generator=torch.Generator().manual_seed(0)).double().numpy()
    latents = mean + np.exp(log_variance / 2) * noise
    decoded = method.decoder(torch.from_numpy(np.hstack([latents, known]))).detach().numpy()
    squares = ((batch.stacks[0].numpy() / 255 - decoded) ** 2).sum(axis=(1, 2, 3)) / (2 * 0.3**2)
    divergence = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum(axis=1)
    assert output.loss.item() == pytest.approx((squares + 2 * divergence).mean(), rel=1e-6)


@pytest.mark.parametrize(("condition", "offset"), [("action", 1), ("game", 0)])
def test_the_stack_follows_the_action_that_it_is_told(make_encoder, condition, offset):
    assert make_method(make_encoder(), condition, 2).time_offsets == (offset,)


def test_samples_depend_on_their_class(make_encoder):
    method = make_method(make_encoder())
    samples = [
        method.sample(torch.full((2,), number), torch.Generator().manual_seed(0))
        for number in range(method.num_classes)
    ]
    assert all(sample.shape == (2, 3, 29, 37) for sample in samples)
    assert not torch.equal(samples[0], samples[1])


def test_the_traversal_of_a_stack_passes_through_its_own_reconstruction(make_encoder, make_batch):
    method = make_method(make_encoder())
    batch = make_batch()
    frames, classes = batch.stacks[0, 1:2], batch.actions[1:2]
    own = method._posterior_of(frames, classes).mean
    pictures = method.traverse(frames, classes, 2, torch.stack([own[0, 2], own[0, 2] + 1]).detach())
    assert torch.equal(pictures[:1], (255 * method._decode(own, classes)).round().to(torch.uint8))


def test_a_stack_can_be_seen_as_each_class(make_encoder, make_batch, generator):
    pictures = make_method(make_encoder()).pictures(make_batch(), generator)
    assert {name: tuple(images.shape) for name, images in pictures.items()} == {
        "reconstructions": (5, 1, 29, 74),
        "samples": (5, 1, 29, 37),
        "as_each_class": (3, 1, 29, 37),
    }


@pytest.mark.usefixtures("unchecked_signatures")
def test_an_unknown_condition_is_refused():
    with pytest.raises(ValueError, match="condition must be 'game' or 'action', got 'score'"):
        ConditionalVAEConfig(condition="score")


def test_unknown_classes_are_refused(make_encoder, make_batch, generator):
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        make_method(make_encoder(), num_classes=0)
    with pytest.raises(ValueError, match="this method was built for 2 actions, got action number 2"):
        make_method(make_encoder(), num_classes=2)(make_batch(), generator)
