import os
import shutil
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gen_ssl.encoders import NatureCNN, ViT, load_encoder
from gen_ssl.frames import FrameStore, FrameStoreWriter, read_shard
from gen_ssl.optimization import OptimizerConfig
from gen_ssl.pretraining import NonFiniteLossError, Pretraining, PretrainingConfig
from scripts import pretrain_encoder
from scripts.pretrain_encoder import PretrainEncoder, find_frames, starting_point
from scripts.run.checkpoint import load_checkpoint
from scripts.run.pretrain_assembly import build_fabric, build_parts, open_frames
from scripts.run.pretrain_config import FramesConfig, PretrainRunConfig
from scripts.run.pretrain_frames import collect_random_frames
from scripts.run.pretrain_run import DivergedRunError, PretrainRun
from scripts.run.run_directory import RunDirectory
from scripts.run.tensorboard import read_scalars

FRAME_SHAPE = (1, 48, 36)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of five episodes in which a bright square moves over noise."""
    path = tmp_path_factory.mktemp("frames")
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 60, (95, *FRAME_SHAPE), dtype=np.uint8)
    for step, (y, x) in enumerate(generator.integers(0, 30, (95, 2))):
        frames[step, 0, y : y + 5, x : x + 5] = 255
    ended = np.arange(95) % 19 == 18
    with FrameStoreWriter(path, frame_shape=FRAME_SHAPE) as writer:
        writer.append(
            game="Pong",
            num_actions=3,
            frames=frames,
            actions=generator.integers(0, 3, 95),
            rewards=generator.normal(size=95).astype(np.float32),
            terminated=ended,
            truncated=np.zeros(95, np.bool_),
        )
    return path


@pytest.fixture
def config(folder):
    return PretrainRunConfig(
        method="simclr",
        stack=2,
        precision="float32",
        checkpoint_every_steps=2,
        pictures_every_steps=4,
        frames=FramesConfig(frames=folder),
        pretraining=PretrainingConfig(
            steps=7, batch_size=6, log_every_steps=2, optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=2)
        ),
    )


def run(config, path, **options):
    pretrain_encoder.main(PretrainEncoder(run=config, run_directory=path, device="cpu", threads=1, **options))


def resume(config, path):
    pretrain_encoder.main(PretrainEncoder(run=config, resume=path, device="cpu", threads=1))


def curves(path):
    """All scalars but those of the clock."""
    return {tag: points for tag, points in read_scalars(path).items() if not tag.startswith("time/")}


def weights(path):
    return load_checkpoint(path / "checkpoint.pt")["pretraining"]["method"]


def test_a_run_leaves_an_encoder_curves_and_pictures(config, tmp_path, capsys, folder):
    run(config, tmp_path / "run")
    path = tmp_path / "run"
    assert capsys.readouterr().out.strip() == str(path / "encoder")
    encoder = load_encoder(path / "encoder")
    assert isinstance(encoder, NatureCNN)
    assert encoder.frame_shape == (2, 48, 36)
    saved = weights(path)
    assert all(torch.equal(saved[f"encoder.{name}"], value) for name, value in encoder.state_dict().items())
    written = {file.name for file in path.iterdir()}
    assert written >= {"config.json", "command.txt", "checkpoint.pt", "encoder", "projector_config.pbtxt"}
    events = EventAccumulator(str(path), size_guidance={"images": 0})
    events.Reload()
    assert "pictures/view_pairs" in events.Tags()["images"]
    assert {image.step for image in events.Images("pictures/view_pairs")} == {4, 7}
    tags = set(read_scalars(path))
    assert tags >= {"final/f1_mean", "final/random_f1_mean"}
    assert "collapse/knn" not in tags  # the store has no state to score, only actions and rewards
    assert tags >= {"pretraining/loss", "collapse/rank_me", "collapse/feature_deviation", "time/samples_per_second"}


def test_frames_of_several_games_are_pretrained_on_and_not_probed(config, tmp_path):
    steps = {
        "num_actions": 3,
        "frames": np.random.default_rng(0).integers(0, 256, (40, *FRAME_SHAPE), dtype=np.uint8),
        "actions": np.zeros(40, np.int64),
        "rewards": np.zeros(40, np.float32),
        "terminated": np.arange(40) % 10 == 9,
        "truncated": np.zeros(40, np.bool_),
    }
    with FrameStoreWriter(tmp_path / "frames", frame_shape=FRAME_SHAPE) as writer:
        for game in ("Pong", "Breakout"):
            writer.append(game=game, **steps)
    run(replace(config, frames=FramesConfig(frames=tmp_path / "frames")), tmp_path / "run")
    tags = set(read_scalars(tmp_path / "run"))
    assert "pretraining/loss" in tags
    assert not any("f1" in tag or "knn" in tag for tag in tags)


def test_a_run_stopped_by_ctrl_c_and_resumed_equals_one_that_never_stopped(config, tmp_path, monkeypatch, capsys):
    run(config, tmp_path / "whole")
    update = pretrain_encoder.PretrainRun.log

    def log_and_interrupt(self, metrics):
        update(self, metrics)
        if self.steps == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_encoder.PretrainRun, "log", log_and_interrupt)
        run(config, tmp_path / "stopped")
    assert f"--resume {tmp_path / 'stopped'}" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "stopped/checkpoint.pt")["pretraining"]["steps"] == 4
    assert load_encoder(tmp_path / "stopped/encoder").feature_dim == 512
    resume(config, tmp_path / "stopped")
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert curves(tmp_path / "stopped") == curves(tmp_path / "whole")


@pytest.mark.parametrize("method", ["mae", "conditional-vae"])
def test_other_methods_run_with_their_options(config, tmp_path, method):
    config = replace(
        config,
        method=method,
        encoder="ViT" if method == "mae" else "NatureCNN",
        masks="motion",
        pixel_weights="motion",
        condition="action",
        pretraining=replace(config.pretraining, steps=1),
    )
    run(config, tmp_path / "run")
    assert load_encoder(tmp_path / "run/encoder").frame_shape == (2, 48, 36)


def test_a_saved_encoder_is_gone_on_with_and_one_for_other_frames_refused(config, tmp_path):
    torch.manual_seed(0)
    NatureCNN(frame_shape=(2, 48, 36), feature_dim=13).save_pretrained(tmp_path / "first")
    run(replace(config, encoder=str(tmp_path / "first")), tmp_path / "run")
    assert load_encoder(tmp_path / "run/encoder").feature_dim == 13
    NatureCNN().save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"takes stacks of shape \(4, 84, 84\), .* of shape \(2, 48, 36\)"):
        run(replace(config, encoder=str(tmp_path / "other")), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("interrupted_at", [None, 4])
def test_a_run_goes_on_when_the_encoder_it_began_with_is_gone(config, tmp_path, monkeypatch, interrupted_at):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    NatureCNN(frame_shape=(2, 48, 36), feature_dim=13).save_pretrained("first")
    config = replace(config, encoder="first")
    run(config, tmp_path / "whole")
    log = PretrainRun.log

    def log_and_end(self, metrics):
        log(self, metrics)
        if interrupted_at is None:
            raise RuntimeError("killed before its first checkpoint")
        if self.steps == interrupted_at:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, nullcontext() if interrupted_at else pytest.raises(RuntimeError):
        patch.setattr(PretrainRun, "log", log_and_end)
        run(config, tmp_path / "stopped")
    shutil.rmtree("first")
    pretrain_encoder.main(replace(starting_point(["--resume", "stopped"]), device="cpu", threads=1))
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def diverge_at(monkeypatch, step, *, weights_too=False):
    update = Pretraining.update

    def update_or_diverge(self, batch, interval):
        if self.steps == step:
            if weights_too:
                next(self.encoder.parameters()).data.fill_(torch.nan)
            raise NonFiniteLossError("the loss became nan")
        update(self, batch, interval)

    monkeypatch.setattr(Pretraining, "update", update_or_diverge)


@pytest.mark.parametrize(("step", "checkpoint"), [(1, "there is no checkpoint"), (3, "the last good checkpoint stays")])
def test_a_run_whose_loss_is_not_finite_leaves_its_newest_encoder(config, tmp_path, monkeypatch, step, checkpoint):
    diverge_at(monkeypatch, step)
    path = tmp_path / "run"
    with pytest.raises(DivergedRunError, match=rf"saved as .*non_finite.pt, its encoder, .*encoder, and {checkpoint}:"):
        run(config, path)
    assert (path / "checkpoint.pt").exists() == (step == 3)
    method, encoder = load_checkpoint(path / "non_finite.pt", kind="method"), load_encoder(path / "encoder")
    assert all(torch.equal(method[f"encoder.{name}"], value) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (1, "there is no encoder, whose weights are not finite, and there is no checkpoint:"),
        (3, "the encoder saved before stays, and the last good checkpoint stays:"),
    ],
)
def test_an_encoder_that_is_not_finite_is_not_saved(config, tmp_path, monkeypatch, step, words):
    diverge_at(monkeypatch, step, weights_too=True)
    with pytest.raises(DivergedRunError, match=words):
        run(config, tmp_path / "run")
    assert (tmp_path / "run/encoder").exists() == (step == 3)
    if step == 3:
        assert all(value.isfinite().all() for value in load_encoder(tmp_path / "run/encoder").state_dict().values())


def test_a_learning_rate_that_is_much_too_large_ends_the_run(config, tmp_path):
    bad = replace(config.pretraining, optimizer=OptimizerConfig(learning_rate=1e30, warmup_steps=0))
    with pytest.raises(DivergedRunError, match=r"at step \d+; the method is saved as .*non_finite.pt"):
        run(replace(config, pretraining=bad), tmp_path / "run")


def test_a_run_is_not_resumed_with_other_settings(config, tmp_path):
    run(config, tmp_path / "run")
    with pytest.raises(ValueError, match=r"another configuration: stack \(2 then, 3 now\)"):
        resume(replace(config, stack=3), tmp_path / "run")


def test_a_run_is_not_resumed_on_frames_that_were_added_to(config, folder, tmp_path):
    frames = shutil.copytree(folder, tmp_path / "frames")
    config = replace(config, frames=FramesConfig(frames=frames))
    run(config, tmp_path / "run")
    with FrameStoreWriter(frames, frame_shape=FRAME_SHAPE) as writer:
        writer.append(
            game="Pong",
            num_actions=3,
            frames=np.zeros((3, *FRAME_SHAPE), np.uint8),
            actions=np.zeros(3, np.int64),
            rewards=np.zeros(3, np.float32),
            terminated=np.array([False, False, True]),
            truncated=np.zeros(3, np.bool_),
        )
    with pytest.raises(ValueError, match="began on 95 frames of Pong, its folder has 98 frames of Pong now"):
        resume(config, tmp_path / "run")


def test_a_saved_encoder_of_other_frames_is_refused_before_any_are_played(tmp_path):
    torch.manual_seed(0)
    NatureCNN(feature_dim=13).save_pretrained(tmp_path / "saved")
    PretrainRunConfig(encoder=str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"takes stacks of shape \(4, 84, 84\), .* stacks of shape \(2, 84, 84\)"):
        PretrainRunConfig(encoder=str(tmp_path / "saved"), stack=2)


def test_a_resumed_run_is_given_no_other_folder(config, tmp_path):
    with pytest.raises(ValueError, match="give --resume or --run-directory, not both"):
        PretrainEncoder(run=config, resume=tmp_path / "run", run_directory=tmp_path / "other")


def test_a_batch_that_devices_cannot_share_is_refused(config):
    with pytest.raises(ValueError, match="6 samples for 2 devices on 2 nodes"):
        build_fabric(config, torch.device("cpu"), devices=2, num_nodes=2)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"method must be one of simclr, .*, got 'byol'"):
        PretrainRunConfig(method="byol")
    with pytest.raises(ValueError, match=r"encoder must be one of NatureCNN, .*, got 'AlexNet'"):
        PretrainEncoder(run=PretrainRunConfig(encoder="AlexNet"))
    with pytest.raises(ValueError, match=r"views must be one of default, .*, got 'none'"):
        PretrainRunConfig(views="none")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "mae"}, "the method mae needs a ViT, .* got the encoder 'NatureCNN'"),
        (
            {"pretraining": PretrainingConfig(batch_size=1)},
            "a contrastive loss needs at least 2 samples in a batch, got 1",
        ),
        ({"mask_ratio": 1.0}, "mask_ratio must lie between 0 and 1, got 1.0"),
        (
            {"method": "mae", "encoder": "ViT", "mask_ratio": 0.99},
            "at least 1 of 49 patches to see and 1 to predict, got 0.99, which leaves 0 to see",
        ),
        (
            {"method": "mae", "encoder": "ViT", "stack": 1, "masks": "motion"},
            "masks by motion need a stack of at least 2 frames, got 1",
        ),
        *(
            (
                {"method": method, "stack": 1, "pixel_weights": "motion"},
                "pixel_weights by motion need a stack of at least 2 frames, got 1",
            )
            for method in ("autoencoder", "vae", "beta-vae", "conditional-vae")
        ),
        (
            {"method": "conditional-vae", "condition": "game"},
            "a condition on the game needs frames of at least 2 games: give --frames .* of Pong alone",
        ),
    ],
)
def test_what_cannot_be_pretrained_is_refused_at_construction(settings, message):
    with pytest.raises(ValueError, match=message):
        PretrainRunConfig(**settings)


def test_settings_that_a_method_has_no_use_for_are_not_refused():
    config = PretrainRunConfig(method="vae", stack=1, masks="motion", condition="game")
    assert config.pixel_weights == "equal"


def test_a_mask_is_counted_in_the_patches_of_a_saved_encoder(tmp_path):
    ViT(patch_size=42, embed_dim=12, depth=1).save_pretrained(tmp_path)
    assert PretrainRunConfig(method="mae", encoder=str(tmp_path)).mask_ratio == 0.75
    with pytest.raises(ValueError, match=r"at least 1 of 4 patches to see .* got 0.8, which leaves 0"):
        PretrainRunConfig(method="mae", encoder=str(tmp_path), mask_ratio=0.8)


def test_a_saved_encoder_that_is_no_vit_is_refused_for_mae_at_construction(tmp_path):
    NatureCNN(feature_dim=13).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="the method mae needs a ViT"):
        PretrainRunConfig(method="mae", encoder=str(tmp_path))


def test_a_game_that_cannot_be_played_is_refused_at_construction_unless_there_are_frames(folder):
    with pytest.raises(ValueError, match="unknown Atari game 'Pongg': did you mean Pong"):
        FramesConfig(game="Pongg")
    assert FramesConfig(game="Pongg", frames=folder).label == folder.name


def test_a_name_that_is_taken_is_refused_before_frames_are_played(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="run exists already: please name another one"):
        run(replace(config, frames=FramesConfig(num_frames=130)), tmp_path / "run")
    assert not (tmp_path / "frames").exists()


def test_conditional_vae_runs_on_one_game_by_default_and_tells_what_a_condition_needs(config, tmp_path):
    one_step = replace(config, method="conditional-vae", pretraining=replace(config.pretraining, steps=1))
    run(one_step, tmp_path / "run")
    with pytest.raises(ValueError, match="a condition on the game needs at least 2 of them in the frames, got 1"):
        run(replace(one_step, condition="game"), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_the_first_process_decides_whether_there_is_a_checkpoint_to_go_on_from(config, tmp_path, folder, monkeypatch):
    run(config, tmp_path / "run")
    for found, steps in ((True, 7), (False, 0)):
        fabric = build_fabric(config, torch.device("cpu"))
        monkeypatch.setattr(fabric, "broadcast", lambda here, found=found: found)  # as another process hears it
        parts = build_parts(config, folder, fabric)
        resumed = PretrainRun(config, RunDirectory.open(tmp_path / "run"), parts, fabric, resumes=True)
        assert resumed.steps == steps
        resumed.board.close()


@pytest.mark.parametrize(("memory_gigabytes", "reads_again"), [(1.0, False), (0.0, True)])
def test_a_store_is_opened_once_and_decoded_where_it_fits(folder, tmp_path, monkeypatch, memory_gigabytes, reads_again):
    copied = Path(shutil.copytree(folder, tmp_path / "frames"))
    opened = []
    monkeypatch.setattr("gen_ssl.frames.frame_store.read_shard", lambda path: opened.append(path) or read_shard(path))
    store = open_frames(copied, memory_gigabytes=memory_gigabytes)
    assert opened == sorted(copied.glob("*.frames"))
    shutil.rmtree(copied)
    if reads_again:
        with pytest.raises(FileNotFoundError):
            store.frames(np.arange(3))
    else:
        assert store.frames(np.arange(3)).shape == (3, *FRAME_SHAPE)


def test_without_frames_random_play_is_collected_once(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = replace(config, frames=FramesConfig(game="Pong", num_frames=130))
    fabric = build_fabric(config, torch.device("cpu"))
    folder = find_frames(config, fabric)
    assert str(folder) == "frames/Pong-random-130-seed-0"
    shard = next(folder.glob("*.frames"))
    before = shard.stat().st_mtime_ns
    assert find_frames(config, fabric) == folder
    assert shard.stat().st_mtime_ns == before
    store = FrameStore.open(folder)
    assert (len(store), store.games, store.frame_shape) == (130, ("Pong",), (1, 84, 84))


def test_a_damaged_shard_of_random_play_is_played_again(tmp_path):
    collect_random_frames(tmp_path, game="Pong", num_frames=60, seed=0)
    shard = next(tmp_path.glob("*.frames"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-40])
    collect_random_frames(tmp_path, game="Pong", num_frames=60, seed=0)
    assert shard.read_bytes() == whole


def test_a_resumed_run_keeps_its_own_settings(config, tmp_path):
    run(config, tmp_path / "run")
    assert starting_point(["--resume", str(tmp_path / "run")]).run == config
    assert starting_point([]).run == PretrainRunConfig()


@pytest.mark.gpu
def test_one_command_pretrains_on_a_gpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = PretrainRunConfig(
        frames=FramesConfig(num_frames=15_000), pretraining=PretrainingConfig(steps=200, log_every_steps=50)
    )
    pretrain_encoder.main(PretrainEncoder(run=config, run_directory=tmp_path / "run", device="cuda"))
    losses = [value for _, value in read_scalars(tmp_path / "run")["pretraining/loss"]]
    assert losses[-1] < losses[0]
