import math

import numpy as np
import pytest
import torch

from gen_ssl.encoders import VIT_SIZES, ViT

B, C, H, W, P, D = 2, 3, 35, 21, 7, 12


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return ViT(frame_shape=(C, H, W), patch_size=P, embed_dim=D, depth=2, num_heads=3)


@pytest.fixture
def frames():
    return torch.randint(0, 256, (B, C, H, W), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("size", "patch_size", "parameters"),
    [("base", 16, 85_798_656), ("large", 16, 303_301_632), ("huge", 14, 630_764_800)],
)
def test_the_published_sizes_have_the_published_parameters(size, patch_size, parameters):
    with torch.device("meta"):  # counted without the memory that they would take
        vit = ViT(frame_shape=(3, 224, 224), patch_size=patch_size, **VIT_SIZES[size]._asdict())
    assert sum(weight.numel() for weight in vit.parameters()) == parameters


def test_the_weights_have_the_names_of_timm(vit):
    block = [
        f"{part}.{kind}"
        for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    ]
    expected = ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]
    expected += [f"blocks.{index}.{name}" for index in range(2) for name in block]
    assert set(vit.state_dict()) == {*expected, "norm.weight", "norm.bias"}
    assert vit.pos_embed.shape == (1, 1 + 15, D)
    assert vit.patch_embed.proj.weight.shape == (D, C, P, P)


def layer_norm(values, norm):
    values = values - values.mean(-1, keepdims=True)
    scaled = values / np.sqrt((values**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * norm["weight"] + norm["bias"]


def part(weights, prefix):
    return {name: weights[f"{prefix}.{name}"] for name in ("weight", "bias")}


def linear(values, weights, prefix):
    return values @ weights[f"{prefix}.weight"].T + weights[f"{prefix}.bias"]


def gelu(values):
    return values * 0.5 * (1 + np.vectorize(math.erf)(values / 2**0.5))


def written_out(vit, frame):
    """The transformer of Dosovitskiy et al. 2021, equations 1 to 4, for one frame, patch by patch and head by head."""
    weights = {name: value.detach().double().numpy() for name, value in vit.state_dict().items()}
    pixels = frame.double().numpy() / 255
    tokens = [weights["cls_token"][0, 0]]
    for y in range(0, H, P):
        for x in range(0, W, P):
            patch = pixels[:, y : y + P, x : x + P]
            embedded = (weights["patch_embed.proj.weight"] * patch).sum((1, 2, 3)) + weights["patch_embed.proj.bias"]
            tokens.append(embedded)
    z = np.stack(tokens) + weights["pos_embed"][0]
    for index in range(2):
        name = f"blocks.{index}"
        qkv = linear(layer_norm(z, part(weights, f"{name}.norm1")), weights, f"{name}.attn.qkv")
        heads = []
        for head in range(3):
            query, key, value = (qkv[:, role * D + head * 4 : role * D + (head + 1) * 4] for role in range(3))
            scores = np.exp(query @ key.T / 4**0.5)
            heads.append(scores / scores.sum(1, keepdims=True) @ value)
        z = z + linear(np.concatenate(heads, 1), weights, f"{name}.attn.proj")
        hidden = linear(layer_norm(z, part(weights, f"{name}.norm2")), weights, f"{name}.mlp.fc1")
        z = z + linear(gelu(hidden), weights, f"{name}.mlp.fc2")
    return layer_norm(z, part(weights, "norm"))


def test_the_tokens_are_those_of_the_papers_equations(vit, frames):
    tokens = vit.double().forward_tokens(frames)
    for index in range(B):
        np.testing.assert_allclose(tokens[index].detach().numpy(), written_out(vit, frames[index]), atol=1e-9)


def test_kept_tokens_are_all_that_is_looked_at(vit, frames):
    keep = torch.tensor([[4, 11, 0], [7, 2, 13]])
    tokens = vit.forward_tokens(frames, keep)
    assert tokens.shape == (B, 1 + 3, D)
    hidden = frames.clone()
    hidden[0, :, 2 * P : 3 * P, :P] = 0  # patch 6, which is not kept in either
    torch.testing.assert_close(vit.forward_tokens(hidden, keep), tokens, rtol=0, atol=0)
    seen = frames.clone()
    seen[0, :, P : 2 * P, P : 2 * P] ^= 255  # patch 4 of the first stack
    changed = (vit.forward_tokens(seen, keep) - tokens).abs().amax(dim=(1, 2))
    assert changed[0] > 0
    assert changed[1] == 0


def test_keeping_every_patch_in_order_is_keeping_all(vit, frames):
    every = torch.arange(15).expand(B, -1)
    torch.testing.assert_close(vit.forward_tokens(frames, every), vit.forward_tokens(frames))


def test_the_features_are_the_class_token_or_the_mean_of_the_patches(vit, frames):
    tokens = vit.forward_tokens(frames)
    torch.testing.assert_close(vit(frames), tokens[:, 0])
    mean = ViT(frame_shape=(C, H, W), patch_size=P, embed_dim=D, depth=2, num_heads=3, pooling="mean")
    mean.load_state_dict(vit.state_dict())
    torch.testing.assert_close(mean(frames), tokens[:, 1:].mean(1))


def test_the_map_has_a_token_where_its_patch_is(vit, frames):
    tokens, spatial = vit.forward_tokens(frames), vit.spatial_features(frames)
    assert spatial.shape == (B, D, 5, 3)
    torch.testing.assert_close(spatial[:, :, 3, 1], tokens[:, 1 + 3 * 3 + 1])


def test_positions_start_as_sines_and_cosines_of_column_and_row(vit):
    positions = vit.pos_embed.detach()[0]
    assert not positions[0].any()
    row, column, rate = 3, 1, 10_000 ** (-1 / 3)  # the second of three rates
    there = positions[1 + 3 * row + column]
    expected = [np.sin(column * rate), np.cos(column * rate), np.sin(row * rate), np.cos(row * rate)]
    np.testing.assert_allclose(there[[1, 4, 7, 10]], expected, rtol=1e-6)


def test_a_patch_that_does_not_divide_the_frames_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match="frames of 84x60 pixels, which 1, 2, 3, 4, 6, 12 do, got 16"):
        ViT(frame_shape=(4, 84, 60), patch_size=16)


def test_a_width_that_heads_or_positions_cannot_share_is_refused():
    with pytest.raises(ValueError, match="multiple of 4 and of num_heads, got 28 and 3"):
        ViT(embed_dim=28, num_heads=3)
    with pytest.raises(ValueError, match="multiple of 4 and of num_heads, got 6 and 3"):
        ViT(embed_dim=6, num_heads=3)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling must be 'class' or 'mean', got 'max'"):
        ViT.__init__.__wrapped__(ViT.__new__(ViT), pooling="max")
