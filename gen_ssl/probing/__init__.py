"""What can be read off an encoder's features: state variables, positions, the next reward and action."""

from .encoder_probe import EncoderProbe, ProbeConfig, ProbeScores
from .labels import LabelledFrames, LabelReader, Labels, frame_labels, state_columns
from .linear_classifiers import LinearConfig
from .nearest_neighbours import nearest_neighbour_classes
from .supervised import SupervisedConfig, train_supervised
from .weighted_f1 import weighted_f1

__all__ = [
    "EncoderProbe",
    "LabelReader",
    "LabelledFrames",
    "Labels",
    "LinearConfig",
    "ProbeConfig",
    "ProbeScores",
    "SupervisedConfig",
    "frame_labels",
    "nearest_neighbour_classes",
    "state_columns",
    "train_supervised",
    "weighted_f1",
]
