"""Sequence models that remember: attention, S4, S4D, Mamba, GRU and LSTM behind one contract, and models made of them.

`make_mixer` builds each mixer by its name. Training and tasks are modules of their own: `training`, `tasks`.
"""

from .attention import Attention
from .bidirectional import Bidirectional, BidirectionalStack
from .carried_state import check_state_fits, detach, select_rows
from .decoder import Decoder
from .encoder_decoder import EncoderDecoder
from .infini_attention import InfiniAttention
from .masked_model import MaskedModel
from .mixers import MIXERS, make_mixer
from .residual_stack import ResidualStack
from .sequence_classifier import PairClassifier, SequenceClassifier
from .sequence_encoder import SequenceEncoder
from .sequence_model import SequenceModel

__all__ = [
    "MIXERS",
    "Attention",
    "Bidirectional",
    "BidirectionalStack",
    "Decoder",
    "EncoderDecoder",
    "InfiniAttention",
    "MaskedModel",
    "PairClassifier",
    "ResidualStack",
    "SequenceClassifier",
    "SequenceEncoder",
    "SequenceModel",
    "check_state_fits",
    "detach",
    "make_mixer",
    "select_rows",
]
