"""The table of methods, from which a command picks one by name."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from .atc import ATC, ATCConfig
from .autoencoder import Autoencoder, AutoencoderConfig
from .conditional_vae import Condition, ConditionalVAE, ConditionalVAEConfig
from .encoders import Encoder
from .gather import Gather, keep_rows
from .mae import MAE, MAEConfig
from .moco import MoCo, MoCoConfig
from .patch_masks import MaskScores, random_scores
from .reconstruction import PixelWeights, equal_weights
from .rotation import Rotation, RotationConfig
from .simclr import SimCLR, SimCLRConfig
from .st_dim import STDIM, STDIMConfig
from .vae import VAE, VAEConfig
from .views import Views, default_views


@dataclass(frozen=True, kw_only=True)
class MethodParts:
    """What methods are given besides the encoder; each takes what it has a use for."""

    views: Views = field(default_factory=default_views)
    """simclr, moco, atc: what makes two views of a stack."""
    gather: Gather = keep_rows
    """simclr, moco, atc, st-dim: what brings in the rows of other ranks."""
    pixel_weights: PixelWeights = equal_weights
    """autoencoder and the VAEs: which pixels' errors count for more, for instance `MotionWeights()`."""
    mask_scores: MaskScores = random_scores
    """mae: which patches are masked, for instance `MotionScores()`."""
    mask_ratio: float = 0.75
    """mae: the share of patches that are masked."""
    condition: Condition = "game"
    """conditional-vae: which of two or more games, or of two or more actions, posterior and decoder are told."""
    hidden_border: int | None = None
    """rotation: pixels blackened on every side; None is a sixth of the frame, where most games write scores."""
    num_games: int = 1
    num_actions: int = 1


MethodFactory = Callable[[Encoder, MethodParts], nn.Module]

# A VAE of unit deviation pays as much for the whole of Pong's ball as for one bit of z, and leaves it out: at a tenth,
# errors weigh 100 times more.
_PIXEL_DEVIATION = 0.1


def _simclr(encoder: Encoder, parts: MethodParts) -> SimCLR:
    return SimCLR(encoder, SimCLRConfig(hidden_dim=512), views=parts.views, gather=parts.gather)


def _moco(encoder: Encoder, parts: MethodParts) -> MoCo:
    # In a run of minutes, a network that follows by a thousandth a step would stay at its random start.
    config = MoCoConfig(momentum=0.99, queue_size=4_096, hidden_dim=512)
    return MoCo(encoder, config, views=parts.views, gather=parts.gather)


def _atc(encoder: Encoder, parts: MethodParts) -> ATC:
    return ATC(encoder, ATCConfig(), views=parts.views, gather=parts.gather)


def _st_dim(encoder: Encoder, parts: MethodParts) -> STDIM:
    return STDIM(encoder, STDIMConfig(), gather=parts.gather)


def _mae(encoder: Encoder, parts: MethodParts) -> MAE:
    config = MAEConfig(mask_ratio=parts.mask_ratio, decoder_dim=128, decoder_depth=2, decoder_heads=4)
    return MAE(encoder, config, scores=parts.mask_scores)


def _autoencoder(encoder: Encoder, parts: MethodParts) -> Autoencoder:
    return Autoencoder(encoder, AutoencoderConfig(), pixel_weights=parts.pixel_weights)


def _vae(encoder: Encoder, parts: MethodParts) -> VAE:
    return VAE(encoder, VAEConfig(pixel_deviation=_PIXEL_DEVIATION), pixel_weights=parts.pixel_weights)


def _beta_vae(encoder: Encoder, parts: MethodParts) -> VAE:
    config = VAEConfig(beta=4.0, pixel_deviation=_PIXEL_DEVIATION)  # Higgins et al. 2017, section 4
    return VAE(encoder, config, pixel_weights=parts.pixel_weights)


def _conditional_vae(encoder: Encoder, parts: MethodParts) -> ConditionalVAE:
    config = ConditionalVAEConfig(condition=parts.condition, vae=VAEConfig(pixel_deviation=_PIXEL_DEVIATION))
    num_classes = parts.num_games if parts.condition == "game" else parts.num_actions
    if num_classes < 2:
        raise ValueError(
            f"a condition on the {parts.condition} needs at least 2 of them in the frames, got {num_classes}"
        )
    return ConditionalVAE(encoder, config, num_classes=num_classes, pixel_weights=parts.pixel_weights)


def _rotation(encoder: Encoder, parts: MethodParts) -> Rotation:
    border = encoder.frame_shape[1] // 6 if parts.hidden_border is None else parts.hidden_border
    return Rotation(encoder, RotationConfig(hidden_border=border))


METHODS: dict[str, MethodFactory] = {
    "simclr": _simclr,
    "moco": _moco,
    "atc": _atc,
    "st-dim": _st_dim,
    "mae": _mae,
    "autoencoder": _autoencoder,
    "vae": _vae,
    "beta-vae": _beta_vae,
    "conditional-vae": _conditional_vae,
    "rotation": _rotation,
}
"""Every method by the name that commands use, with heads, queues and decoders of a size for one game on a laptop."""

CONTRASTIVE_METHODS = ("simclr", "moco", "atc", "st-dim")
"""Those that tell the samples of a batch apart, and so need two of them at least."""


def make_method(
    name: str, encoder: Encoder, *, parts: MethodParts | None = None, num_games: int = 1, num_actions: int = 1
) -> nn.Module:
    """Returns a `Method` of that name around an encoder.

    Args:
        name: one of METHODS.
        encoder: what is to be pretrained.
        parts: views, masks and other parts to take instead of the usual ones; carries the numbers below itself.
        num_games: in the frames, for a condition on them.
        num_actions: of the game with most, likewise.

    Raises:
        ValueError: there is no such method, or it does not go with this encoder.
    """
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}: choose one of {', '.join(METHODS)}")
    return METHODS[name](encoder, parts or MethodParts(num_games=num_games, num_actions=num_actions))
