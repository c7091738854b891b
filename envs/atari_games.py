"""The games that can be played: those whose ROM comes inside the ale-py wheel."""

import difflib

from ale_py import roms

# Two-player cartridges: their ROMs are in the wheel, but ALE ends the whole process on loading one for a single player.
_TWO_PLAYERS_ONLY = frozenset({"combat", "joust", "maze_craze", "warlords"})


def _camel_case(rom: str) -> str:
    return rom.title().replace("_", "")


_ROM_OF_GAME = {_camel_case(rom): rom for rom in sorted(roms.get_all_rom_ids()) if rom not in _TWO_PLAYERS_ONLY}

ATARI_GAMES: tuple[str, ...] = tuple(_ROM_OF_GAME)
"""Every playable game, in the spelling of Gymnasium's "ALE/MsPacman-v5", in alphabetical order."""


def rom_name(game: str) -> str:
    """Returns ale-py's name of a game's ROM ("ms_pacman" for "MsPacman"), or raises ValueError naming similar games."""
    if game in _ROM_OF_GAME:
        return _ROM_OF_GAME[game]
    if game in map(_camel_case, _TWO_PLAYERS_ONLY):
        raise ValueError(f"{game} is a game for two players only, which the emulator cannot play alone")
    # Compared by their letters, so that "ms_pacman" and "ALE/MsPacman-v5" find MsPacman.
    letters = game.split("/")[-1].split("-")[0].replace("_", "").lower()
    by_letters = {name.lower(): name for name in ATARI_GAMES}
    close = [letters] if letters in by_letters else difflib.get_close_matches(letters, by_letters)
    nearest = [by_letters[name] for name in close]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "see envs.ATARI_GAMES for all names"
    raise ValueError(f"unknown Atari game {game!r}: {hint}")
