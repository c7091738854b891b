import pytest
import torch
from torch import Tensor
from torch.nn.functional import elu

from seqmodels.infini_attention import InfiniAttention
from seqmodels.mixers import make_mixer

B, L, D, H, S = 2, 17, 12, 3, 5
E = D // H


def infini(rule: str, segment_length: int = S) -> InfiniAttention:
    torch.manual_seed(0)
    mixer = make_mixer(f"infini-{rule}", D, num_heads=H, segment_length=segment_length)
    assert isinstance(mixer, InfiniAttention)
    with torch.no_grad():
        mixer.gate_bias.copy_(torch.tensor([-1.0, 0.5, 2.0]))
    return mixer.double()


def inputs() -> Tensor:
    return torch.randn(B, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_loops(mixer: InfiniAttention, x: Tensor, rule: str) -> Tensor:
    """Returns the outputs from equations 1 to 6 of Munkhdalai et al. 2024, row by row and segment by segment."""
    projected = (x @ mixer.in_proj.weight.T).view(B, L, 3, H, E)
    heads = torch.zeros(B, L, H, E, dtype=torch.float64)
    for row in range(B):
        for head in range(H):
            query, keys, values = projected[row, :, :, head].unbind(1)
            gate = mixer.gate_bias[head].sigmoid()
            matrix, normaliser = torch.zeros(E, E, dtype=torch.float64), torch.zeros(E, dtype=torch.float64)
            for begin in range(0, L, S):
                end = min(begin + S, L)
                for i in range(begin, end):
                    position = torch.tensor([range(begin, i + 1)])
                    q = mixer.rotation(query[None, None, i : i + 1], position[:, -1:])[0, 0, 0]
                    k = mixer.rotation(keys[None, None, begin : i + 1], position)[0, 0]
                    local = (k @ q / E**0.5).softmax(0) @ values[begin : i + 1]
                    feature = elu(query[i]) + 1
                    remembered = feature @ matrix / (feature @ normaliser) if begin else torch.zeros(E).double()
                    heads[row, i, head] = gate * remembered + (1 - gate) * local
                features = elu(keys[begin:end]) + 1
                written = values[begin:end]
                if rule == "delta" and begin:
                    written = written - features @ matrix / (features @ normaliser)[:, None]
                matrix = matrix + features.T @ written
                normaliser = normaliser + features.sum(0)
    return heads.flatten(2) @ mixer.out_proj.weight.T


@torch.no_grad()
@pytest.mark.parametrize("rule", ["linear", "delta"])
def test_it_equals_a_loop_over_segments(rule):
    mixer = infini(rule)
    output, _ = mixer(inputs())
    assert torch.allclose(output, by_loops(mixer, inputs(), rule), atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("rule", ["linear", "delta"])
def test_one_segment_is_plain_attention_scaled_by_the_gate(rule):
    mixer = infini(rule, segment_length=L)
    mixer.gate_bias.fill_(0.7)
    plain = make_mixer("attention-rotary", D, num_heads=H).double()
    plain.load_state_dict({name: weight for name, weight in mixer.state_dict().items() if name != "gate_bias"})
    gate = mixer.gate_bias[0].sigmoid()
    assert torch.allclose(mixer(inputs())[0], (1 - gate) * plain(inputs())[0], atol=1e-12)


@torch.no_grad()
def test_the_delta_rule_writes_nothing_that_the_memory_already_returns():
    # A single key reads back its own value: the same position once more adds to the linear memory only.
    for rule, copies in (("linear", 2), ("delta", 1)):
        mixer = infini(rule, segment_length=1)
        x = inputs()[:, :1]
        _, once = mixer(x)
        _, twice = mixer(x, state=once)
        assert torch.allclose(twice.matrix, copies * once.matrix, atol=1e-12)
        assert torch.allclose(twice.normaliser, 2 * once.normaliser)


@torch.no_grad()
def test_a_full_segment_leaves_nothing_but_memory():
    _, state = infini("linear")(inputs()[:, : 2 * S])
    assert state.num_kept.tolist() == [0, 0]
    assert state.keys.abs().max() == 0
    _, state = infini("linear")(inputs()[:, : 2 * S + 3])
    assert state.num_kept.tolist() == [3, 3]
    assert state.keys[:, :, 3:].abs().max() == 0


def test_no_head_is_refused():
    with pytest.raises(ValueError, match="num_heads must be at least 1, got 0"):
        make_mixer("infini-delta", D, num_heads=0)


def test_a_segment_has_a_position():
    with pytest.raises(ValueError, match="segment_length must be at least 1, got 0"):
        make_mixer("infini-linear", D, num_heads=H, segment_length=0)


@torch.no_grad()
@pytest.mark.parametrize("rule", ["linear", "delta"])
def test_a_long_past_does_not_overflow_in_float16(rule):
    torch.manual_seed(0)
    mixer = make_mixer(f"infini-{rule}", 32, num_heads=1, segment_length=64)
    x = 3.0 * torch.randn(1, 2048, 32)
    with torch.autocast("cpu", torch.float16):
        output, _ = mixer(x)
    assert (output - mixer(x)[0]).abs().max() < 0.02 * output.abs().max()
