import numpy as np
import torch
from torch import nn

from seqmodels.bidirectional import Bidirectional, BidirectionalStack
from seqmodels.masked_inputs import hide_tokens
from seqmodels.masked_model import MaskedModel
from seqmodels.mixers import make_mixer
from seqmodels.sequence_classifier import SequenceClassifier
from seqmodels.tasks.task import NOT_SCORED

L, D, VOCABULARY = 12, 16, 7


def model() -> MaskedModel:
    torch.manual_seed(0)
    mixers = [make_mixer("attention-rotary", D) for _ in range(2)]
    encoder = BidirectionalStack([Bidirectional(*mixers)], feed_forward_dim=32)
    return MaskedModel(nn.Embedding(VOCABULARY + 1, D), encoder, num_outputs=VOCABULARY)


def hidden_batch(generator: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns rows that count up from anywhere, with a token hidden here and there, and the hidden tokens."""
    rows = (generator.integers(VOCABULARY, size=(32, 1)) + np.arange(L)) % VOCABULARY
    hidden = [hide_tokens(row, generator, vocab_size=VOCABULARY, share=0.15) for row in rows]
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*hidden, strict=True))


def test_hidden_tokens_are_learned_from_both_sides():
    masked, generator = model(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(masked.parameters(), lr=0.01)
    lengths = torch.full((32,), L)
    for _ in range(60):
        inputs, targets = hidden_batch(generator)
        loss = nn.functional.cross_entropy(masked(inputs, lengths).transpose(1, 2), targets, ignore_index=NOT_SCORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inputs, targets = hidden_batch(generator)
    scored = targets != NOT_SCORED
    right = masked(inputs, lengths).argmax(-1)[scored] == targets[scored]
    assert right.float().mean() > 0.9


def test_a_classifier_takes_over_the_pretrained_parts():
    masked = model()
    classifier = SequenceClassifier(masked.input_layer, masked.encoder, pooling="mean", num_outputs=3)
    shared = {id(parameter) for parameter in masked.parameters()} & {id(p) for p in classifier.parameters()}
    assert len(shared) == len(list(masked.parameters())) - 2
