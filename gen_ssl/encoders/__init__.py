"""Encoders from pixels to features, and the one table from which a command picks one by name."""

from .architectures import ENCODERS, load_encoder
from .dqn2013_cnn import DQN2013CNN
from .encoder import Encoder
from .nature_cnn import NatureCNN

__all__ = ["DQN2013CNN", "ENCODERS", "Encoder", "NatureCNN", "load_encoder"]
