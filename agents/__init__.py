"""Deep Q-learning and its parts: networks, targets, exploration, replay, the training loop and evaluation.

Encoders and environments are passed in; this library imports neither.
"""

from .dqn import DQN, DQNConfig, NonFiniteLossError
from .encoded_environment import EncodedEnvironment
from .encoder import Encoder
from .evaluation import ActingAgent, Evaluation, evaluate
from .exploration import ExplorationConfig
from .frame_stacker import FrameStacker
from .q_network import DuelingHead, LinearHead, QNetwork
from .training import Metrics, Training, TrainingConfig, VectorEnvironment, train
from .transition import TransitionBatch, UpdateResult

__all__ = [
    "DQN",
    "ActingAgent",
    "DQNConfig",
    "DuelingHead",
    "EncodedEnvironment",
    "Encoder",
    "Evaluation",
    "ExplorationConfig",
    "FrameStacker",
    "LinearHead",
    "Metrics",
    "NonFiniteLossError",
    "QNetwork",
    "Training",
    "TrainingConfig",
    "TransitionBatch",
    "UpdateResult",
    "VectorEnvironment",
    "evaluate",
    "train",
]
