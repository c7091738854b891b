import torch
from torch import Tensor

from seqmodels.denoising import delete_tokens, infill_tokens, mask_tokens

MASK = 99


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rows() -> tuple[Tensor, Tensor]:
    """Returns rows of tokens that are all different, padded with 0."""
    lengths = torch.tensor([50, 1, 37])
    tokens = torch.arange(1, 51).repeat(3, 1)
    return tokens.masked_fill(torch.arange(50) >= lengths.unsqueeze(1), 0), lengths


def test_masked_tokens_leave_all_others_in_place():
    tokens, lengths = torch.full((100, 100), 7), torch.full((100,), 90)
    noisy = mask_tokens(tokens, lengths, share=0.3, mask_token=MASK, generator=seeded())
    masked = noisy.tokens == MASK
    assert abs(masked[:, :90].float().mean() - 0.3) < 0.02
    assert not masked[:, 90:].any()
    assert (noisy.tokens[~masked] == 7).all()
    assert torch.equal(noisy.lengths, lengths)


def test_deleted_tokens_leave_the_others_in_their_order():
    tokens, lengths = rows()
    noisy = delete_tokens(tokens, lengths, share=0.4, generator=seeded())
    for row, length in zip(noisy.tokens, noisy.lengths.tolist(), strict=True):
        assert (row[1:length] > row[: length - 1]).all()
        assert not row[length:].any()
    assert abs(int(noisy.lengths.sum()) / int(lengths.sum()) - 0.6) < 0.15
    everything = delete_tokens(tokens, lengths, share=1.0, generator=seeded())
    assert everything.tokens.tolist() == [[1], [1], [1]]


def test_infilling_hides_the_asked_share_and_keeps_the_rest_in_order():
    tokens, lengths = rows()
    noisy = infill_tokens(tokens, lengths, share=0.3, mask_token=MASK, generator=seeded())
    for row, length, before in zip(noisy.tokens, noisy.lengths.tolist(), lengths.tolist(), strict=True):
        kept = row[:length][row[:length] != MASK]
        assert len(kept) == before - round(0.3 * before)
        assert (kept[1:] > kept[:-1]).all()
        assert not row[length:].any()
    # Fewer masks than hidden tokens: about one for three.
    masks = int((noisy.tokens[0] == MASK).sum())
    assert 3 <= masks <= 10


def test_spans_have_a_mean_of_three_tokens():
    tokens, lengths = torch.arange(1, 10_001).unsqueeze(0), torch.tensor([10_000])
    noisy = infill_tokens(tokens, lengths, share=0.3, mask_token=-1, generator=seeded())
    assert abs(3_000 / int((noisy.tokens == -1).sum()) - 3) < 0.2


def test_a_whole_row_can_be_hidden_and_none():
    tokens, lengths = rows()
    hidden = infill_tokens(tokens, lengths, share=1.0, mask_token=MASK, generator=seeded())
    assert set(hidden.tokens.unique().tolist()) <= {0, MASK}
    same = infill_tokens(tokens, lengths, share=0.0, mask_token=MASK, generator=seeded())
    assert torch.equal(same.tokens, tokens)


def test_the_noise_is_the_generators():
    tokens, lengths = rows()
    for noise in (
        lambda generator: mask_tokens(tokens, lengths, share=0.3, mask_token=MASK, generator=generator),
        lambda generator: delete_tokens(tokens, lengths, share=0.3, generator=generator),
        lambda generator: infill_tokens(tokens, lengths, share=0.3, mask_token=MASK, generator=generator),
    ):
        assert torch.equal(noise(seeded()).tokens, noise(seeded()).tokens)
        assert not torch.equal(noise(seeded()).tokens, noise(torch.Generator().manual_seed(1)).tokens)
