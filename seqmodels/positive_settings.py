"""Refuses settings that count something and are below 1."""


def check_positive(**settings: int) -> None:
    """Raises ValueError, with its name, for the first setting that is below 1."""
    for name, value in settings.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
