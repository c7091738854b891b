"""The commands: the only place where two libraries meet. Each runs as `python -m scripts.NAME --help`."""
