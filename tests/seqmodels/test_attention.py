import math

import pytest
import torch
from torch import Tensor

from seqmodels import attention as attention_module
from seqmodels.attention import Attention
from seqmodels.mixers import make_mixer
from seqmodels.positions import sinusoids

B, L, D, H = 2, 7, 12, 3
E = D // H


def attention(name: str, **options: int) -> Attention:
    torch.manual_seed(0)
    mixer = make_mixer(f"attention-{name}", D, num_heads=H, **options)
    assert isinstance(mixer, Attention)
    return mixer.double()


def inputs(length: int = L, seed: int = 1) -> Tensor:
    return torch.randn(B, length, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def turned(vector: Tensor, position: int) -> Tensor:
    """Returns a head turned by its position, pair by pair."""
    angle = position / 10_000 ** (torch.arange(0, E, 2, dtype=torch.float64) / E)
    even, odd = vector[0::2], vector[1::2]
    result = torch.empty_like(vector)
    result[0::2] = even * angle.cos() - odd * angle.sin()
    result[1::2] = even * angle.sin() + odd * angle.cos()
    return result


def score(name: str, mixer: Attention, head: int, q: Tensor, k: Tensor, i: int, j: int) -> Tensor:
    """Returns the score of one pair, from the formula of each paper."""
    if name in ("rotary", "window"):
        return turned(q, i) @ turned(k, j) / math.sqrt(E)
    if name == "alibi":
        # Two slopes of 2 heads, 2^-4 and 2^-8, and the first of 4, 2^-2.
        return q @ k / math.sqrt(E) - [2**-4, 2**-8, 2**-2][head] * (i - j)
    if name == "relative":
        part = mixer.bias
        table = part.distance_proj(sinusoids(torch.tensor(i - j), D, torch.float64)).view(H, E)[head]
        u, v = part.content_bias[head], part.distance_bias[head]
        return (q @ k + q @ table + u @ k + v @ table) / math.sqrt(E)
    return q @ k / math.sqrt(E)


def by_loops(name: str, mixer: Attention, x: Tensor, reach: int) -> Tensor:
    """Returns the outputs pair by pair, head by head, each position with those at most `reach` before it."""
    if name == "learned":
        x = x + mixer.embedding.embedding.weight[: x.shape[1]]
    if name == "sinusoidal":
        x = x + sinusoids(torch.arange(x.shape[1]), D, torch.float64)
    projected = (x @ mixer.in_proj.weight.T).view(B, -1, 3, H, E)
    heads = torch.zeros(B, x.shape[1], H, E, dtype=torch.float64)
    for row in range(B):
        for head in range(H):
            query, keys, values = projected[row, :, :, head].unbind(1)
            for i in range(x.shape[1]):
                seen = range(max(0, i - reach), i + 1)
                weights = torch.stack([score(name, mixer, head, query[i], keys[j], i, j) for j in seen]).softmax(0)
                heads[row, i, head] = weights @ values[list(seen)]
    return heads.flatten(2) @ mixer.out_proj.weight.T


@torch.no_grad()
@pytest.mark.parametrize("name", ["nope", "sinusoidal", "learned", "rotary", "alibi", "relative"])
def test_attention_equals_a_loop_over_pairs(name):
    mixer = attention(name)
    if name == "relative":
        for parameter in (mixer.bias.content_bias, mixer.bias.distance_bias):
            parameter.normal_(generator=torch.Generator().manual_seed(2))
    output, _ = mixer(inputs())
    assert torch.allclose(output, by_loops(name, mixer, inputs(), reach=L), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("window", [1, 2, 3, 6, 7, 8])
def test_a_window_sees_a_position_and_those_just_before_it(window):
    mixer = attention("window", window=window)
    output, cache = mixer(inputs())
    assert torch.allclose(output, by_loops("window", mixer, inputs(), reach=window - 1), atol=1e-12)
    assert cache.keys.shape == (B, H, window - 1, E)


@torch.no_grad()
@pytest.mark.parametrize("name", ["alibi", "relative"])
def test_a_window_and_a_bias_of_scores_go_together(name):
    plain = attention(name)
    mixer = Attention(D, num_heads=H, bias=plain.bias, window=3).double()
    output, _ = mixer(inputs(11))
    assert torch.allclose(output, by_loops(name, mixer, inputs(11), reach=2), atol=1e-12)


@torch.no_grad()
def test_learned_positions_count_the_carried_state_and_restart_at_a_reset():
    mixer = attention("learned", max_length=L)
    _, state = mixer(inputs(5))
    mixer(inputs(2), state=state)
    with pytest.raises(ValueError, match=f"at most {L}, got one of {L + 1}, the positions of the carried state incl"):
        mixer(inputs(3), state=state)
    with pytest.raises(ValueError, match=f"at most {L}, got one of {L + 1}"):
        mixer(inputs(L + 1))
    resets = torch.zeros(B, 9, dtype=torch.bool)
    resets[:, 2] = True
    mixer(inputs(9), state=state, resets=resets)  # five and two, then seven


@torch.no_grad()
def test_a_cache_drops_what_no_row_needs_after_a_reset():
    mixer = attention("rotary")
    resets = torch.zeros(B, L, dtype=torch.bool)
    resets[0, 3] = resets[1, 5] = True
    _, cache = mixer(inputs(), resets=resets)
    assert cache.keys.shape[2] == L - 3
    assert cache.valid.tolist() == [[True] * 4, [False, False, True, True]]
    assert cache.next_position.tolist() == [4, 2]


@torch.no_grad()
def test_far_positions_are_as_exact_as_near_ones_in_float32():
    # In float32 an angle of 10^6 has no digit after the first: the distance of neighbours would be lost.
    mixer = attention("rotary").float()
    x = inputs().float()
    near, _ = mixer(x)
    far = mixer.initial_state(B)._replace(
        keys=torch.zeros(B, H, 1, E),
        values=torch.zeros(B, H, 1, E),
        valid=torch.zeros(B, 1, dtype=torch.bool),
        next_position=torch.full((B,), 10**6),
    )
    assert torch.allclose(mixer(x, state=far)[0], near, atol=1e-5)


def attended(mixer: Attention, **options) -> list[Tensor]:
    """Returns output, cache and gradients."""
    x = inputs().requires_grad_()
    output, cache = mixer(x, **options)
    return [output, *cache, *torch.autograd.grad(output.square().sum(), [x, *mixer.parameters()])]


@pytest.mark.parametrize("name", ["alibi", "relative", "rotary"])
@pytest.mark.parametrize("at_once", [1, B * H * L * 3])
def test_queries_in_blocks_give_the_outputs_and_gradients_of_all_at_once(name, at_once, monkeypatch):
    mixer = attention(name)
    _, state = mixer(inputs(5, seed=2))
    state = state._replace(keys=state.keys.detach(), values=state.values.detach())
    resets = torch.zeros(B, L, dtype=torch.bool)
    resets[0, 3] = True
    cases = [{}, {"state": state}, {"resets": resets}, {"state": state, "resets": resets}]
    whole = [attended(mixer, **options) for options in cases]
    with torch.no_grad():
        output, _ = mixer(inputs())
    monkeypatch.setattr(attention_module, "_SCORES_AT_ONCE", at_once)
    for options, expected in zip(cases, whole, strict=True):
        for one, other in zip(attended(mixer, **options), expected, strict=True):
            assert torch.allclose(one, other, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(mixer(inputs())[0], output, atol=1e-12)


def test_a_bias_that_all_rows_share_is_held_once_and_never_for_all_pairs(monkeypatch):
    masks = []
    attend = attention_module.scaled_dot_product_attention

    def noting(*heads, attn_mask):
        masks.append(tuple(attn_mask.shape))
        return attend(*heads, attn_mask=attn_mask)

    monkeypatch.setattr(attention_module, "scaled_dot_product_attention", noting)
    mixer = attention("alibi")
    mixer(inputs())
    assert masks == [(1, H, L, L)]
    masks.clear()
    monkeypatch.setattr(attention_module, "_SCORES_AT_ONCE", B * H * L * 3)
    mixer(inputs())
    assert masks == [(1, H, 3, 3), (1, H, 3, 6), (1, H, 1, 7)]


def test_no_number_of_every_pair_is_kept_for_the_gradient(monkeypatch):
    kept = []

    def note(tensor):
        kept.append(tensor.numel())
        return tensor

    length = 97
    monkeypatch.setattr(attention_module, "_SCORES_AT_ONCE", B * H * length * 5)
    mixer = attention("relative")
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        mixer(inputs(length))
    assert 0 < max(kept) < length * length


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="d_model must be a multiple of num_heads, got 12 and 5"):
        Attention(12, num_heads=5)
    for name in ("nope", "rotary", "learned", "sinusoidal", "relative", "alibi", "window"):
        with pytest.raises(ValueError, match="num_heads must be at least 1, got 0"):
            make_mixer(f"attention-{name}", 12, num_heads=0)
    with pytest.raises(ValueError, match="the size of a head must be even, got 3"):
        make_mixer("attention-rotary", 12, num_heads=4)


def test_a_window_holds_at_least_the_position_itself():
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        Attention(D, num_heads=H, window=0)
