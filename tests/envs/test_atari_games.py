import re

import pytest
from ale_py import roms

from envs import ATARI_GAMES
from envs.atari_games import rom_name


def test_every_rom_of_the_wheel_is_a_game_except_those_for_two_players_only():
    missing = set(roms.get_all_rom_ids()) - {rom_name(game) for game in ATARI_GAMES}
    assert missing == {"combat", "joust", "maze_craze", "warlords"}
    assert len(ATARI_GAMES) == len(set(ATARI_GAMES)) >= 104


@pytest.mark.parametrize(
    ("game", "sentence"),
    [
        ("Pongg", "unknown Atari game 'Pongg': did you mean Pong?"),
        ("ms_pacman", "unknown Atari game 'ms_pacman': did you mean MsPacman?"),
        ("ALE/Pong-v5", "unknown Atari game 'ALE/Pong-v5': did you mean Pong?"),
        ("MsPackman", "unknown Atari game 'MsPackman': did you mean MsPacman or Pacman?"),
        ("Xyz", "unknown Atari game 'Xyz': see envs.ATARI_GAMES for all names"),
        ("Combat", "Combat is a game for two players only"),
    ],
)
def test_an_unknown_game_is_refused_with_the_nearest_names(game, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        rom_name(game)
