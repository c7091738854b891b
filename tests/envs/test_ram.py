"""Every named byte of the console's memory, against the emulator: write it and see what changes on the screen.

The game is played on from one state with several values in a byte. What is on the screen with one value and with no
other one is the object that the byte places; where it is must go with the value.
"""

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from envs import ATARI_GAMES, AtariConfig, Catch, make_atari
from envs.ram import RAM_BYTES, RAM_VARIABLES, RamVariable, console_ram, pong_ball, ram_variables

NOOP, FIRE, UP, RIGHT, LEFT, DOWN = range(6)  # ALE's numbers, the same in all games
SHIFTS = (-20, -15, -10, -5, 5, 10, 15, 20)

# Pixels by which an object moves for one unit of its byte, where it is not one.
PIXELS_PER_UNIT = {
    ("Freeway", "player_y"): -1,  # counted from the bottom
    ("SpaceInvaders", "player_missile_y"): 2,
    ("SpaceInvaders", "invader_missile_0_y"): 2,
    ("SpaceInvaders", "invader_missile_1_y"): 2,
}
# What one unit of a byte adds to the score that ALE reads.
POINTS_PER_UNIT = {
    "player_score": 1,
    "enemy_score": -1,
    "score": 1,
    "score_ones": 1,
    "score_hundreds": 100,
    "score_ten_thousands": 10_000,
}
SCORES = [
    pytest.param(name, variable.byte, POINTS_PER_UNIT[variable.name], id=f"{name}-{variable.name}")
    for name, of_game in RAM_VARIABLES.items()
    for variable in of_game
    if variable.name in POINTS_PER_UNIT
]
# Paddles are placed by the joystick and by the opponent, whatever stands in memory: they are looked for on the screen.
PADDLES = {
    ("Pong", "player_y"): ((92, 186, 92), slice(34, 194)),
    ("Pong", "enemy_y"): ((213, 130, 74), slice(34, 194)),
    ("Breakout", "player_x"): ((200, 72, 72), slice(189, 193)),
}
# Crowds, boxers and Qbert: what is drawn changes its shape too, so only the direction is asked for.
CHANGING_SHAPE = {
    ("SpaceInvaders", "invaders_x"),
    ("Qbert", "player_y"),
    *((("Boxing", f"{who}_{axis}")) for who in ("player", "enemy") for axis in "xy"),
}
# Objects that are not there unless somebody shoots.
MISSILES = {("Seaquest", "player_missile_x")}
DIRECTIONS = {("MsPacman", "player_direction"), ("Seaquest", "player_direction")}


@cache
def game_of(name: str) -> Any:
    """Returns an emulator without sticky actions, and with the full set of actions."""
    config = AtariConfig(game=name, sticky_action_probability=0.0, max_noop_steps=0, full_action_space=True)
    return make_atari(config, stack=1).unwrapped


@cache
def states_of(name: str) -> list[Any]:
    """Returns states of the emulator during random play."""
    game, generator, states = game_of(name), np.random.default_rng(0), []
    game.reset(seed=1)
    actions = make_atari(AtariConfig(game=name)).unwrapped.ale.getMinimalActionSet()
    for step in range(421):
        if step % 12 == 0 and step >= 60:
            states.append(game.ale.cloneState())
        action = actions[generator.integers(len(actions))]
        for _ in range(4):
            game.ale.act(action)
        if game.ale.game_over():
            game.ale.reset_game()
    return states


def screens_after_poke(game: Any, state: Any, byte: int, value: int, *, num_frames: int) -> np.ndarray:
    game.ale.restoreState(state)
    game.ale.setRAM(byte, value)
    screens = []
    for _ in range(num_frames):
        game.ale.act(NOOP)
        screens.append(game.ale.getScreenRGB())
    return np.stack(screens)


def placed(name: str, variable: RamVariable) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (shifts of the byte, positions of what moved) for states, and frames, in which something moved."""
    game = game_of(name)
    for state in states_of(name):
        game.ale.restoreState(state)
        value = int(game.ale.getRAM()[variable.byte])
        shifts = [shift for shift in SHIFTS if 0 <= value + shift <= 255]
        reference = screens_after_poke(game, state, variable.byte, value, num_frames=3)
        changed = [
            (screens_after_poke(game, state, variable.byte, value + shift, num_frames=3) != reference).any(axis=-1)
            for shift in shifts
        ]
        for frame in range(3):  # some things are drawn every second frame only
            found = []
            for shift, here in zip(shifts, changed, strict=True):
                elsewhere = [other[frame] for other in changed if other is not here]
                rows, columns = np.nonzero(here[frame] & ~np.logical_or.reduce(elsewhere))
                if len(rows):
                    found.append((shift, (columns if variable.axis == "x" else rows).mean()))
            if len(found) >= 4:
                moved, positions = np.array(found).T
                yield moved, positions


def variables(*kinds: str, but: Collection[tuple[str, str]] = ()) -> list[Any]:
    """Returns the variables of these axes or categories as parameters of a test."""
    return [
        pytest.param(name, variable, id=f"{name}-{variable.name}")
        for name, of_game in RAM_VARIABLES.items()
        for variable in of_game
        if (variable.axis or variable.category) in kinds and (name, variable.name) not in but
    ]


@pytest.mark.parametrize(("name", "variable"), variables("x", "y", but=[*PADDLES, *MISSILES]))
def test_an_object_stands_where_its_byte_says(name: str, variable: RamVariable) -> None:
    expected = PIXELS_PER_UNIT.get((name, variable.name), 1)
    slopes: list[float] = []
    for moved, positions in placed(name, variable):
        if np.ptp(positions) > 0 and abs(np.corrcoef(moved, positions)[0, 1]) > 0.99:
            slopes.append(np.polyfit(moved, positions, 1)[0])
        if len(slopes) == 3:
            break
    assert len(slopes) >= 2
    if (name, variable.name) in CHANGING_SHAPE:
        assert min(slopes) > 0.7
    else:
        assert np.median(slopes) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(("name", "paddle"), list(PADDLES))
def test_a_paddle_is_seen_where_its_byte_says(name: str, paddle: str) -> None:
    colour, rows = PADDLES[name, paddle]
    variable = next(variable for variable in ram_variables(name) if variable.name == paddle)
    game, generator = game_of(name), np.random.default_rng(3)
    game.reset(seed=1)
    pairs = []
    for step in range(400):
        if step % 20 == 0:
            action = generator.choice([UP, RIGHT, LEFT, DOWN, FIRE])
        game.ale.act(action)
        places = np.argwhere((game.ale.getScreenRGB()[rows] == colour).all(axis=-1))
        places = places[(places[:, 1] >= 8) & (places[:, 1] < 152)]  # without Breakout's walls
        if len(places):
            pairs.append((game.ale.getRAM()[variable.byte], places.mean(axis=0)[1 if variable.axis == "x" else 0]))
    in_memory, on_screen = np.array(pairs, dtype=np.float64).T
    assert len(pairs) > 200
    assert np.ptp(in_memory) > 20
    assert np.corrcoef(in_memory, on_screen)[0, 1] > 0.98
    assert np.polyfit(in_memory, on_screen, 1)[0] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("name", "action", "moved", "direction"),
    [
        ("Boxing", RIGHT, "player_x", 1),
        ("Boxing", DOWN, "player_y", 1),
        ("Breakout", RIGHT, "player_x", 1),
        ("Breakout", LEFT, "player_x", -1),
        ("Freeway", UP, "player_y", 1),
        ("MsPacman", LEFT, "player_x", -1),
        ("Pong", RIGHT, "player_y", -1),  # up
        ("Pong", LEFT, "player_y", 1),
        ("Qbert", DOWN, "player_y", 1),
        ("Seaquest", RIGHT, "player_x", 1),
        ("Seaquest", DOWN, "player_y", 1),
        ("SpaceInvaders", RIGHT, "player_x", 1),
    ],
)
def test_the_player_moves_as_told(name: str, action: int, moved: str, direction: int) -> None:
    variable = next(variable for variable in ram_variables(name) if variable.name == moved)
    game = game_of(name)
    game.reset(seed=1)
    for _ in range(280 if name == "MsPacman" else 140):  # until the game has begun
        game.ale.act(NOOP)
    before = int(game.ale.getRAM()[variable.byte])
    for _ in range(30):
        game.ale.act(action)
    after = int(game.ale.getRAM()[variable.byte])
    assert (after - before) * direction > 3


@pytest.mark.parametrize(("name", "byte", "points"), SCORES)
def test_a_digit_more_in_memory_is_a_score_higher_by_its_place(name: str, byte: int, points: int) -> None:
    game = game_of(name)
    game.ale.restoreState(states_of(name)[0])
    value = int(game.ale.getRAM()[byte])
    assert value & 15 < 9  # the last digit does not carry
    game.ale.setRAM(byte, value + 1)
    assert game.ale.act(NOOP) == points


@pytest.mark.parametrize("name", [name for name, of in RAM_VARIABLES.items() if "lives" in {one.name for one in of}])
def test_a_life_less_in_memory_is_a_life_less(name: str) -> None:
    byte = next(variable.byte for variable in ram_variables(name) if variable.name == "lives")
    game = game_of(name)
    game.reset(seed=1)
    for _ in range(60):
        game.ale.act(NOOP)
    lives = game.ale.lives()
    game.ale.setRAM(byte, int(game.ale.getRAM()[byte]) - 1)
    game.ale.act(NOOP)
    assert game.ale.lives() == lives - 1


def test_the_clock_of_boxing_counts_seconds_down_in_decimals() -> None:
    game = game_of("Boxing")
    game.reset(seed=1)
    seconds = []
    for frame in range(601):
        if frame % 60 == 0:
            memory = int(game.ale.getRAM()[17])
            seconds.append(10 * (memory >> 4) + (memory & 15))
        game.ale.act(NOOP)
    np.testing.assert_array_equal(np.diff(seconds[1:]) % 60, 59)


def test_oxygen_and_divers_of_seaquest_are_drawn_below_the_water() -> None:
    game = game_of("Seaquest")
    for name, pixels_per_unit in (("oxygen", 5), ("divers", None)):
        byte = next(variable.byte for variable in ram_variables("Seaquest") if variable.name == name)
        counts = []
        for value in (3, 4, 5):
            screens = [
                screens_after_poke(game, states_of("Seaquest")[1], byte, shown, num_frames=1)[0] for shown in (2, value)
            ]
            rows, _ = np.nonzero((screens[0] != screens[1]).any(axis=-1))
            assert rows.min() >= 165
            counts.append(len(rows))
        steps = np.diff(counts)
        assert steps[0] == steps[1] > 0
        assert pixels_per_unit is None or steps[0] == pixels_per_unit


def test_dots_eaten_and_invaders_left_are_counted_as_the_score_says() -> None:
    generator = np.random.default_rng(0)
    for name, counted, points in (
        ("MsPacman", "dots_eaten", {10}),
        ("SpaceInvaders", "invaders_left", {5, 10, 15, 20, 25, 30}),
    ):
        byte = next(variable.byte for variable in ram_variables(name) if variable.name == counted)
        game = game_of(name)
        game.reset(seed=1)
        first, events = int(game.ale.getRAM()[byte]), 0
        for _ in range(400):
            action = generator.choice([FIRE, LEFT, RIGHT, UP, DOWN])
            events += sum(game.ale.act(action) in points for _ in range(4))
            if game.ale.lives() < 3:
                break
        assert events > 2
        for _ in range(8):
            game.ale.act(NOOP)
        assert abs(int(game.ale.getRAM()[byte]) - first) == events


@pytest.mark.parametrize(("name", "variable"), variables("miscellaneous", but=DIRECTIONS))
def test_cubes_and_blocks_are_drawn_from_their_bytes(name: str, variable: RamVariable) -> None:
    game, state = game_of(name), states_of(name)[0]
    game.ale.restoreState(state)
    value = int(game.ale.getRAM()[variable.byte])
    # A block's bit is gone; a cube's colour is that of another one.
    other = 0 if name == "Breakout" else value ^ 0x8E
    screens = [screens_after_poke(game, state, variable.byte, shown, num_frames=1)[0] for shown in (value, other)]
    changed = np.argwhere((screens[0] != screens[1]).any(axis=-1))
    assert 20 <= len(changed) <= 200
    height, width = np.ptp(changed, axis=0) + 1
    assert height <= 25
    assert width <= 80


def test_directions_are_those_in_which_the_player_goes() -> None:
    seaquest = game_of("Seaquest")
    seaquest.reset(seed=1)
    for _ in range(140):  # until the game has begun
        seaquest.ale.act(DOWN)
    facing = []
    for action in (LEFT, RIGHT, LEFT, RIGHT):
        for _ in range(10):
            seaquest.ale.act(action)
        facing.append(int(seaquest.ale.getRAM()[86]))
    assert facing[0] == facing[2] != facing[1] == facing[3]

    pacman, generator = game_of("MsPacman"), np.random.default_rng(0)
    pacman.reset(seed=1)
    going: dict[tuple[int, int], list[int]] = {}
    for step in range(1_500):
        if step % 30 == 0:
            action = generator.choice([UP, RIGHT, LEFT, DOWN])
        before = pacman.ale.getRAM().astype(int)
        pacman.ale.act(action)
        after = pacman.ale.getRAM().astype(int)
        step_x, step_y = after[10] - before[10], after[16] - before[16]
        if abs(step_x) + abs(step_y) == 1:
            going.setdefault((step_x, step_y), []).append(int(after[56]))
    shown = {way: max(set(values), key=values.count) for way, values in going.items()}
    assert sorted(shown.values()) == [0, 1, 2, 3]
    agreeing = sum(values.count(shown[way]) for way, values in going.items())
    assert agreeing > 0.9 * sum(map(len, going.values()))


def test_the_missile_of_seaquest_is_seen_where_its_byte_says() -> None:
    game = game_of("Seaquest")
    game.reset(seed=1)
    for _ in range(140):
        game.ale.act(DOWN)
    state = game.ale.cloneState()
    screens, in_memory = [], []
    for action in (NOOP, FIRE):
        game.ale.restoreState(state)
        of_action = []
        for _ in range(12):
            game.ale.act(action)
            action = NOOP
            of_action.append(game.ale.getScreenRGB())
            in_memory.append(int(game.ale.getRAM()[103]))
        screens.append(np.stack(of_action))
    pairs = []
    for byte, changed in zip(in_memory[12:], (screens[0] != screens[1]).any(axis=-1), strict=True):
        _, columns = np.nonzero(changed)
        if len(columns) and byte:
            pairs.append((byte, columns.mean()))
    assert in_memory[:12] == [0] * 12
    assert len(pairs) >= 4
    assert np.polyfit(*np.array(pairs).T, 1)[0] == pytest.approx(1, abs=0.1)


def test_every_variable_is_of_a_game_there_is_and_has_a_name_and_byte_of_its_own() -> None:
    assert set(RAM_VARIABLES) <= set(ATARI_GAMES)
    assert len(RAM_VARIABLES) == 8
    for of_game in RAM_VARIABLES.values():
        assert (
            len({variable.name for variable in of_game}) == len({variable.byte for variable in of_game}) == len(of_game)
        )
        assert all(0 <= variable.byte < RAM_BYTES for variable in of_game)
        assert all((variable.axis is None) == (variable.name[-2:] not in ("_x", "_y")) for variable in of_game)


def test_small_objects_are_balls_and_missiles() -> None:
    small = {variable.name for of_game in RAM_VARIABLES.values() for variable in of_game if variable.is_small_object}
    assert all("ball" in name or "missile" in name for name in small)
    assert {"ball_x", "ball_y", "player_missile_x"} <= small


def test_console_ram_is_the_whole_memory_and_not_a_view_of_it() -> None:
    env = make_atari(AtariConfig(game="Pong"))
    env.reset(seed=0)
    memory = console_ram(env)
    assert (memory.shape, memory.dtype) == ((RAM_BYTES,), np.uint8)
    before = memory.copy()
    for _ in range(50):
        env.step(2)
    np.testing.assert_array_equal(memory, before)
    assert not np.array_equal(console_ram(env), before)


def test_the_ball_of_pong_is_in_the_frame_where_the_memory_says() -> None:
    env = make_atari(AtariConfig(game="Pong", sticky_action_probability=0.0), stack=1)
    generator = np.random.default_rng(0)
    env.reset(seed=0)
    frames, memory = [], []
    for _ in range(400):
        observation, *_ = env.step(generator.integers(6))
        frames.append(observation[0])
        memory.append(console_ram(env))
    row, column, in_play = pong_ball(np.stack(memory))
    assert 0.3 < in_play.mean() < 1
    background = np.median(frames, axis=0)
    seen = [
        frame[int(y) - 1 : int(y) + 2, int(x)].max() > background[int(y), int(x)] + 20
        for frame, y, x, there in zip(frames, row, column, in_play, strict=True)
        if there
    ]
    assert np.mean(seen) > 0.95


def test_games_and_environments_without_variables_are_told() -> None:
    with pytest.raises(ValueError, match=r"no named state variables of 'Tennis', only of Boxing, Breakout, .*Invaders"):
        ram_variables("Tennis")
    with pytest.raises(TypeError, match="only an Atari environment has the console's memory, got <Catch"):
        console_ram(Catch())
