import torch
from torch import nn

from seqmodels.decoder import Decoder
from seqmodels.mixers import make_mixer
from seqmodels.residual_stack import ResidualStack

B, L, D, VOCABULARY = 3, 7, 8, 11


def decoder(input_layer: nn.Module, num_outputs: int = VOCABULARY) -> Decoder:
    torch.manual_seed(0)
    stack = ResidualStack([make_mixer("attention-rotary", D), make_mixer("gru", D)], feed_forward_dim=13)
    return Decoder(input_layer, stack, num_outputs=num_outputs).double()


def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (B, L), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_tokens_one_by_one_give_the_outputs_of_the_whole_row():
    model = decoder(nn.Embedding(VOCABULARY, D))
    whole = model(tokens(), torch.tensor([L, 2, 3]))
    assert whole.shape == (B, L, VOCABULARY)
    state = model.initial_state(B)
    for t in range(L):
        output, state = model.step(tokens()[:, t], state)
        assert torch.allclose(output, whole[:, t], atol=1e-10)
    assert model.state_size(L) == L * (2 * D + 1) + 1 + D


@torch.no_grad()
def test_values_go_in_and_numbers_come_out():
    model = decoder(nn.Linear(2, D), num_outputs=5)
    values = torch.randn(B, L, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = model(values)
    assert whole.shape == (B, L, 5)
    resets = torch.zeros(B, L, dtype=torch.bool)
    resets[:, 3] = True
    output, state = model.advance(values, resets=resets)
    assert torch.allclose(output[:, 3:], model(values[:, 3:]), atol=1e-10)
    further, _ = model.advance(values[:, :1], state=state)
    again, _ = model.advance(torch.cat([values[:, 3:], values[:, :1]], dim=1))
    assert torch.allclose(further, again[:, -1:], atol=1e-10)
