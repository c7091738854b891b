"""What holds for every method of the table."""

import re
from pathlib import Path

import pytest
import torch

from gen_ssl.encoders import DQN2013CNN, ViT
from gen_ssl.frames import FrameBatch
from gen_ssl.method import FollowsStep, Method, ShowsPictures
from gen_ssl.methods import CONTRASTIVE_METHODS, METHODS, MethodParts, make_method
from gen_ssl.motion import MotionWeights
from gen_ssl.patch_masks import MotionScores

FRAME_SHAPE = (2, 28, 28)
ALTERNATIVES = {
    "autoencoder": MethodParts(pixel_weights=MotionWeights()),
    "vae": MethodParts(pixel_weights=MotionWeights()),
    "conditional-vae": MethodParts(condition="action", num_actions=3),
    "mae": MethodParts(mask_scores=MotionScores(), mask_ratio=0.5),
    "rotation": MethodParts(hidden_border=0),
}


def build(name, parts=None):
    torch.manual_seed(0)
    if name == "mae":
        encoder = ViT(FRAME_SHAPE, patch_size=7, embed_dim=12, depth=1, num_heads=3)
    else:
        encoder = DQN2013CNN(FRAME_SHAPE, feature_dim=11)
    return make_method(name, encoder, num_games=2, num_actions=3, parts=parts)


def batch_for(method, *, batch_size=5, frame_shape=FRAME_SHAPE):
    generator = torch.Generator().manual_seed(1)
    shape = (len(method.time_offsets), batch_size, *frame_shape)
    return FrameBatch(
        stacks=torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        actions=torch.arange(batch_size) % 3,
        rewards=torch.zeros(batch_size),
        games=torch.arange(batch_size) % 2,
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_method_keeps_the_contract(name):
    method = build(name)
    assert isinstance(method, Method)
    batch = batch_for(method)
    before = batch.stacks.clone()
    state = torch.get_rng_state()
    output = method(batch, torch.Generator().manual_seed(0))
    again = method(batch, torch.Generator().manual_seed(0))
    assert torch.equal(output.loss, again.loss)  # a function of batch, weights and generator
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(batch.stacks, before)
    assert output.loss.isfinite()
    assert all(value.shape == () and not value.requires_grad for value in output.metrics.values())


@pytest.mark.parametrize("name", METHODS)
def test_every_weight_that_is_trained_receives_a_gradient(name):
    # A data-parallel wrapper waits forever for one that does not.
    method = build(name)
    method(batch_for(method), torch.Generator().manual_seed(0)).loss.backward()
    without = [key for key, weight in method.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []
    assert any(weight.grad.any() for weight in method.encoder.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_ten_steps_on_one_batch_lower_the_loss(name):
    method = build(name)
    batch = batch_for(method)
    optimizer = torch.optim.Adam([weight for weight in method.parameters() if weight.requires_grad], lr=1e-3)
    losses = []
    for _ in range(10):
        loss = method(batch, torch.Generator().manual_seed(0)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", METHODS)
def test_frames_of_another_shape_than_the_encoders_are_refused(name):
    method = build(name)
    message = r"takes torch.uint8 frames of shape \(batch, 2, 28, 28\), got torch.uint8 of shape \(\d+, 3, 28, 28\)"
    with pytest.raises(ValueError, match=message):
        method(batch_for(method, frame_shape=(3, 28, 28)), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", METHODS)
def test_more_times_than_a_method_takes_are_refused(name):
    method = build(name)
    batch = batch_for(method)
    twice = batch._replace(stacks=torch.cat([batch.stacks] * 2))
    with pytest.raises(ValueError, match=f"got {2 * len(method.time_offsets)}$"):
        method(twice, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", METHODS)
def test_pictures_are_images(name):
    method = build(name)
    if name == "st-dim":  # it makes no views
        assert not isinstance(method, ShowsPictures)
        return
    batch = batch_for(method)
    for images in method.pictures(batch, torch.Generator().manual_seed(0)).values():
        assert images.dtype == torch.uint8
        assert images.ndim == 4
        assert images.shape[1] in (1, 3)


def test_only_methods_with_a_momentum_encoder_follow_steps():
    assert [name for name in METHODS if isinstance(build(name), FollowsStep)] == ["moco", "atc"]


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_other_parts_make_another_loss(name):
    losses = []
    for parts in (None, ALTERNATIVES[name]):
        method = build(name, parts)
        losses.append(method(batch_for(method), torch.Generator().manual_seed(0)).loss)
    assert not torch.equal(*losses)


def test_beta_vae_presses_harder_on_the_divergence_than_the_vae():
    assert build("vae").config.beta == 1.0
    assert build("beta-vae").config.beta == 4.0


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_a_method_runs_on_a_gpu(name):
    method = build(name).cuda()
    batch = batch_for(method).to(torch.device("cuda"))
    generator = torch.Generator("cuda").manual_seed(0)
    output = method(batch, generator)
    output.loss.backward()
    assert output.loss.isfinite()
    if isinstance(method, FollowsStep):
        method.after_step()
    if isinstance(method, ShowsPictures):
        assert all(images.is_cuda for images in method.pictures(batch, generator).values())


@pytest.mark.parametrize("condition", ["game", "action"])
def test_a_condition_that_is_always_the_same_is_refused(condition):
    message = f"a condition on the {condition} needs at least 2 of them in the frames, got 1"
    with pytest.raises(ValueError, match=message):
        build("conditional-vae", MethodParts(condition=condition, num_games=1, num_actions=1))


@pytest.mark.parametrize("name", METHODS)
def test_everything_that_a_method_reports_and_shows_is_explained(name):
    method = build(name)
    batch, generator = batch_for(method), torch.Generator().manual_seed(0)
    tags = [f"pretraining/{metric}" for metric in method(batch, generator).metrics]
    if isinstance(method, ShowsPictures):
        tags += [f"pictures/{picture}" for picture in method.pictures(batch, generator)]
    page = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text(encoding="utf-8")
    assert [tag for tag in tags if f"`{tag}`" not in page] == []


@pytest.mark.parametrize("name", METHODS)
def test_only_contrastive_methods_refuse_a_batch_of_one(name):
    method = build(name)
    batch = batch_for(method, batch_size=1)
    if name in CONTRASTIVE_METHODS:
        with pytest.raises(ValueError, match="a contrastive loss needs at least 2 samples in a batch, got 1"):
            method(batch, torch.Generator().manual_seed(0))
    else:
        assert method(batch, torch.Generator().manual_seed(0)).loss.isfinite()


def test_an_unknown_method_is_refused():
    message = re.escape(f"there is no method 'byol': choose one of {', '.join(METHODS)}")
    with pytest.raises(ValueError, match=message):
        make_method("byol", DQN2013CNN(FRAME_SHAPE))
