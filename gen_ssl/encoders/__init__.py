"""Encoders from pixels to features, and the one table from which a command picks one by name."""

from .architectures import ENCODER_NAMES, ENCODERS, load_encoder, make_encoder
from .attribution import FeaturesOfPixels
from .dqn2013_cnn import DQN2013CNN
from .encoder import Encoder, EncodesInOnePass, features_and_map
from .impala_cnn import ImpalaCNN
from .nature_cnn import NatureCNN
from .resnet import ResNet
from .vit import VIT_SIZES, ViT

__all__ = [
    "DQN2013CNN",
    "ENCODERS",
    "ENCODER_NAMES",
    "VIT_SIZES",
    "Encoder",
    "EncodesInOnePass",
    "FeaturesOfPixels",
    "ImpalaCNN",
    "NatureCNN",
    "ResNet",
    "ViT",
    "features_and_map",
    "load_encoder",
    "make_encoder",
]
