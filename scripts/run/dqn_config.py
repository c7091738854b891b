"""Everything that decides about a run of DQN, and the published settings as presets."""

from dataclasses import dataclass, field
from typing import Literal

from agents import DQNConfig, ExplorationConfig, TrainingConfig
from envs import AtariConfig

PresetName = Literal["fast", "catch", "nature-2015", "nips-2013"]


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """What is remembered, and how it is drawn."""

    capacity: int = 1_000_000  # frames kept, all environments together
    # raw: 7 kB a frame; lz4: losslessly compressed; device: raw, where the agent trains; auto: device on a GPU, or lz4
    storage: Literal["auto", "raw", "lz4", "device"] = "auto"
    n_step: int = 1
    discount: float = 0.99
    reward_clip: bool = True  # learn from the sign of the reward
    prioritised: bool = False
    priority_exponent: float = 0.5

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {self.capacity}")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How the agent is evaluated while it trains: full games, raw scores, seeds of their own."""

    evaluate_every_steps: int = 50_000
    num_games: int = 10
    evaluation_epsilon: float = 0.01
    confirm_scores: tuple[float, ...] = ()  # the first evaluation at or above each is confirmed on 30 new games
    stop_when_confirmed: bool = False  # end the run once all of `confirm_scores` are confirmed
    film: bool = True  # write one game as a video at the end

    def __post_init__(self) -> None:
        if self.evaluate_every_steps < 1 or self.num_games < 1:
            raise ValueError(
                "evaluate_every_steps and num_games must be at least 1, "
                f"got {self.evaluate_every_steps} and {self.num_games}"
            )
        if not 0 <= self.evaluation_epsilon <= 1:
            raise ValueError(f"evaluation_epsilon must fall within [0, 1], got {self.evaluation_epsilon}")


@dataclass(frozen=True, kw_only=True)
class DQNRunConfig:
    """One run of DQN. The defaults of its parts are those of Mnih et al. 2015; a preset sets all of it."""

    catch: bool = False  # play Catch, a tiny game that needs no ROM, instead of an Atari game
    seed: int = 0
    num_envs: int = 32  # games played side by side
    encoder: str = "NatureCNN"  # an architecture by name, or the folder of a saved encoder
    # finetune: the encoder learns with the agent; frozen: it stays as it is, and the replay holds its features
    encoder_mode: Literal["finetune", "frozen"] = "finetune"
    stack: int = 4  # frames an observation is made of
    dueling: bool = False
    num_quantiles: int = 1  # of each action's return; more than one with the loss quantile
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the processor computes in it
    compile: Literal["auto", "on", "off"] = "auto"  # auto: where a C++ compiler (or a GPU) is found
    checkpoint_every_steps: int = 100_000
    save_replay: bool = True  # in checkpoints; without it a resumed run refills its memory first
    atari: AtariConfig = field(default_factory=AtariConfig)
    dqn: DQNConfig = field(default_factory=DQNConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def game_name(self) -> str:
        """The game's name in logs, file names and tables of scores."""
        return "Catch" if self.catch else self.atari.game

    def __post_init__(self) -> None:
        for name in ("num_envs", "stack", "num_quantiles", "checkpoint_every_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        first_transitions = self.num_envs * (self.replay.n_step + 1)
        if self.training.learning_starts < first_transitions:
            raise ValueError(
                f"learning_starts must be at least {first_transitions}, n_step + 1 steps of each of {self.num_envs} "
                f"games, for the replay to hold a transition, got {self.training.learning_starts}"
            )
        if self.replay.capacity < self.training.learning_starts:
            raise ValueError(
                f"the replay's capacity of {self.replay.capacity} is smaller than learning_starts, "
                f"{self.training.learning_starts}"
            )


PRESETS: dict[str, DQNRunConfig] = {
    # What `make train` runs: chosen for Pong's score against wall time on two CPU cores (docs/results/pong.md).
    "fast": DQNRunConfig(
        num_envs=32,
        encoder="DQN2013CNN-LayerNorm",
        dueling=True,
        num_quantiles=32,
        dqn=DQNConfig(
            loss="quantile",
            optimizer="adam",
            learning_rate=1e-3,
            final_learning_rate_share=0.1,
            learning_rate_decay_updates=47_000,  # 3,000,000 steps
            optimizer_epsilon=1.5e-4,  # Hessel et al. 2018, table 1
            max_gradient_norm=10.0,
            target_update_every_updates=62,  # 4,000 steps
        ),
        replay=ReplayConfig(capacity=200_000, n_step=5, discount=0.98, prioritised=True),
        training=TrainingConfig(
            total_steps=4_000_000,
            learning_starts=10_000,
            batch_size=256,
            samples_per_step=4,
            final_discount=0.995,
            discount_growth_starts=800_000,  # from a score of about 10 in Pong
            discount_growth_steps=200_000,
            log_every_steps=2_000,
            exploration=ExplorationConfig(final_epsilon=0.02, decay_steps=100_000),
        ),
        evaluation=EvaluationConfig(evaluate_every_steps=100_000, confirm_scores=(10.0, 18.0)),
    ),
    # Solved within a minute: for first runs and tests.
    "catch": DQNRunConfig(
        catch=True,
        num_envs=8,
        encoder="DQN2013CNN",
        compile="off",
        dqn=DQNConfig(optimizer="adam", learning_rate=1e-3, optimizer_epsilon=1e-5, target_update_every_updates=50),
        replay=ReplayConfig(capacity=20_000, storage="raw", n_step=3),
        training=TrainingConfig(
            total_steps=12_000,
            learning_starts=1_000,
            batch_size=32,
            samples_per_step=8,
            held_out_states=64,
            log_every_steps=500,
            exploration=ExplorationConfig(final_epsilon=0.05, decay_steps=4_000),
        ),
        evaluation=EvaluationConfig(evaluate_every_steps=3_000, num_games=10),
        checkpoint_every_steps=5_000,
    ),
    # Mnih et al. 2015, Methods and Extended Data table 1: one game, no sticky actions, all defaults.
    "nature-2015": DQNRunConfig(
        num_envs=1,
        encoder="NatureCNN",
        atari=AtariConfig(sticky_action_probability=0.0),
        evaluation=EvaluationConfig(evaluate_every_steps=250_000, evaluation_epsilon=0.05, num_games=30),
    ),
    # Mnih et al. 2013, section 5: the smaller network, 10 million frames, no frozen copy of the network, one update in
    # every step, epsilon falling over the first million frames.
    "nips-2013": DQNRunConfig(
        num_envs=1,
        encoder="DQN2013CNN",
        atari=AtariConfig(sticky_action_probability=0.0),
        dqn=DQNConfig(loss="squared", target_update_every_updates=1),
        training=TrainingConfig(
            total_steps=2_500_000,
            samples_per_step=32,
            life_loss_is_terminal=False,
            exploration=ExplorationConfig(decay_steps=250_000),
        ),
        evaluation=EvaluationConfig(evaluate_every_steps=50_000, evaluation_epsilon=0.05),
    ),
}
"""Whole configurations by name; every flag still overrides its field."""
