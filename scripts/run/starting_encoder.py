"""The encoder that a run begins with: new, by its architecture's name, or a saved one, of which it keeps a copy."""

from pathlib import Path

from gen_ssl.encoders import ENCODER_NAMES, Encoder, load_encoder, make_encoder
from gen_ssl.encoders.saving import WEIGHTS_FILE


def check_encoder_name(name: str) -> None:
    """Raises ValueError for what is neither an architecture nor a folder, and cannot be a Hub repository either."""
    if name not in ENCODER_NAMES and not Path(name).exists() and "/" not in name:
        raise ValueError(
            f"encoder must be one of {', '.join(ENCODER_NAMES)} or the folder of a saved encoder, got {name!r}"
        )


def build_encoder(name: str, frame_shape: tuple[int, int, int]) -> Encoder:
    """Returns a new encoder of the named architecture, or the saved one of that folder or Hub repository."""
    check_encoder_name(name)
    return make_encoder(name, frame_shape=frame_shape) if name in ENCODER_NAMES else load_encoder(name)


def keep_encoder(name: str, kept: Path) -> None:
    """Copies the saved encoder of that name into the folder `kept`, unless it is there already."""
    if name not in ENCODER_NAMES and not (kept / WEIGHTS_FILE).exists():
        load_encoder(name).save_pretrained(kept)


def kept_encoder(name: str, kept: Path) -> str:
    """Returns the folder `kept` where a copy is in it, otherwise the name: what is at that path may have changed."""
    return str(kept) if (kept / WEIGHTS_FILE).exists() else name
