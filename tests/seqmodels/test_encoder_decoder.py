import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.bidirectional import Bidirectional, BidirectionalStack
from seqmodels.cross_attention import CrossAttention
from seqmodels.encoder_decoder import EncoderDecoder
from seqmodels.mixers import make_mixer

B, M, L, D, H, VOCABULARY = 3, 7, 5, 16, 2, 11
LENGTHS = torch.tensor([7, 2, 4])


def model(dtype: torch.dtype = torch.float64, **options: Any) -> EncoderDecoder:
    torch.manual_seed(0)
    both = [Bidirectional(make_mixer("attention-rotary", D), make_mixer("attention-rotary", D))]
    embedding = nn.Embedding(VOCABULARY, D)
    return EncoderDecoder(
        embedding,
        BidirectionalStack(both, feed_forward_dim=32),
        embedding,
        [make_mixer("attention-rotary", D), make_mixer("gru", D)],
        num_heads=H,
        feed_forward_dim=32,
        num_outputs=VOCABULARY,
        **options,
    ).to(dtype)


def tokens(length: int, seed: int) -> Tensor:
    return torch.randint(VOCABULARY, (B, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_cross_attention_equals_a_loop_within_the_sources_length():
    torch.manual_seed(0)
    part = CrossAttention(D, num_heads=H).double()
    x, source = (torch.randn(B, n, D, dtype=torch.float64) for n in (L, M))
    output = part(x, part.columns(source, LENGTHS))
    size = D // H
    for row, length in enumerate(LENGTHS.tolist()):
        query = part.query_proj(x[row]).view(L, H, size)
        keys, values = part.source_proj(source[row, :length]).view(length, 2, H, size).unbind(1)
        heads = [
            torch.stack([(keys[:, h] @ query[i, h] / math.sqrt(size)).softmax(0) @ values[:, h] for h in range(H)])
            for i in range(L)
        ]
        assert torch.allclose(output[row], part.out_proj(torch.stack(heads).flatten(1)), atol=1e-12)


@torch.no_grad()
def test_a_target_written_piece_by_piece_gives_the_outputs_of_the_whole():
    net, source, target = model(), tokens(M, 1), tokens(L, 2)
    whole = net(source, LENGTHS, target)
    assert whole.shape == (B, L, VOCABULARY)
    first, state = net.advance(target[:, :2], net.read(source, LENGTHS))
    second, _ = net.advance(target[:, 2:], state)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-10)


@torch.no_grad()
def test_outputs_depend_on_the_whole_source_but_neither_on_its_padding_nor_on_later_targets():
    net, source, target = model(), tokens(M, 1), tokens(L, 2)
    whole = net(source, LENGTHS, target)
    changed = target.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % VOCABULARY
    assert torch.allclose(net(source, LENGTHS, changed)[:, :3], whole[:, :3], atol=1e-12)
    padded = source.clone()
    padded[torch.arange(M) >= LENGTHS.unsqueeze(1)] = 9
    assert torch.allclose(net(padded, LENGTHS, target), whole, atol=1e-12)
    other = source.clone()
    other[:, 1] = (other[:, 1] + 1) % VOCABULARY
    assert ((net(other, LENGTHS, target) - whole).abs().amax(-1) > 1e-6).all()


def test_it_learns_to_copy_and_writes_without_being_shown_the_target():
    net = model(torch.float32)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(3)
    begin = VOCABULARY - 1
    lengths = torch.full((32,), 3)
    for _ in range(150):
        source = torch.randint(begin, (32, 3), generator=generator)
        target = torch.cat([torch.full((32, 1), begin), source[:, :-1]], dim=1)
        loss = nn.functional.cross_entropy(net(source, lengths, target).transpose(1, 2), source)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    source = torch.randint(begin, (32, 3), generator=generator)
    written = net.write(source, lengths, first_token=begin, length=3)
    assert (written == source).float().mean() > 0.9


def test_a_state_of_another_batch_is_refused():
    net = model()
    with pytest.raises(ValueError, match="as many rows as the batch, 2, got a tensor of shape"):
        net.advance(tokens(L, 2)[:2], net.read(tokens(M, 1), LENGTHS))


def test_norm_and_dropout_are_those_passed_in():
    net, source, target = model(dropout=0.5, norm=nn.RMSNorm), tokens(M, 1), tokens(L, 2)
    assert sum(isinstance(module, nn.RMSNorm) for module in net.modules()) == 2 * 3 + 1  # the encoder has its own
    assert not torch.equal(net(source, LENGTHS, target), net(source, LENGTHS, target))
    net.eval()
    assert torch.equal(net(source, LENGTHS, target), net(source, LENGTHS, target))
