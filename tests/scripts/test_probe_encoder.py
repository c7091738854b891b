import json
from pathlib import Path

import pytest
import torch

from gen_ssl.encoders import DQN2013CNN, NatureCNN
from gen_ssl.probing import EncoderProbe, LinearConfig, ProbeConfig
from scripts.probe_encoder import RANDOM, SUPERVISED, ProbeEncoder, architectures_of, main
from scripts.run.pretrain_frames import collect_random_frames
from scripts.run.probe_assembly import probe_record


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """Random play of a few games of Pong."""
    folder = tmp_path_factory.mktemp("frames")
    collect_random_frames(folder, game="Pong", num_frames=3_501, seed=0)
    return folder


def test_an_encoder_is_probed_beside_both_ends_of_the_scale(frames, tmp_path, capsys):
    torch.manual_seed(0)
    NatureCNN(feature_dim=31).save_pretrained(tmp_path / "encoder")
    encoder = str(tmp_path / "encoder")
    main(
        ProbeEncoder(
            encoders=(encoder,),
            frames=frames,
            seeds=(0, 1),
            supervised_minutes=0.02,
            probe=ProbeConfig(linear=LinearConfig(epochs=1)),
            device="cpu",
            threads=1,
            output=tmp_path / "scores.json",
        )
    )
    output = capsys.readouterr().out
    assert "| encoder | F1 | F1, small objects | position R2 | k-NN F1 |" in output
    written = json.loads((tmp_path / "scores.json").read_text())
    assert [(score["encoder"], score["seed"]) for score in written["scores"]] == [
        (name, seed) for seed in (0, 1) for name in (encoder, RANDOM, SUPERVISED)
    ]
    assert all(f"| {name} | " in output for name in (encoder, RANDOM, SUPERVISED))
    # The features of a saved encoder do not depend on the seed: its regression has no chance in it.
    of_encoder = [score["r2"] for score in written["scores"] if score["encoder"] == encoder]
    assert of_encoder[0] == of_encoder[1]


def test_the_scale_has_ends_of_its_own_for_other_arguments_of_an_architecture(tmp_path):
    paths = [str(tmp_path / name) for name in "abcd"]
    encoders = (NatureCNN(feature_dim=31), NatureCNN(feature_dim=31), NatureCNN(feature_dim=61), DQN2013CNN())
    for path, encoder in zip(paths, encoders, strict=True):
        encoder.save_pretrained(path)
    assert architectures_of(tuple(paths)) == {
        f"NatureCNN as {paths[0]}": paths[0],
        f"NatureCNN as {paths[2]}": paths[2],
        "DQN2013CNN": paths[3],
    }
    assert architectures_of(tuple(paths[1:2])) == {"NatureCNN": paths[1]}


def test_a_folder_that_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        main(ProbeEncoder(encoders=(str(tmp_path / "nothing"),), frames=tmp_path))


def test_an_encoder_of_other_stacks_is_refused_before_anything_is_probed(frames, tmp_path):
    paths = [str(tmp_path / name) for name in "ab"]
    for path, frame_shape in zip(paths, [(4, 84, 84), (4, 64, 64)], strict=True):
        NatureCNN(frame_shape=frame_shape, feature_dim=31).save_pretrained(path)
    message = (
        r"the encoder .*b takes stacks of shape \(4, 64, 64\), 4 frames of the store make stacks of shape \(4, 84, 84\)"
    )
    with pytest.raises(ValueError, match=message):
        main(ProbeEncoder(encoders=tuple(paths), frames=frames, threads=1))
    with pytest.raises(ValueError, match=r"a takes stacks of shape \(4, 84, 84\), 3 frames .* of shape \(3, 84, 84\)"):
        main(ProbeEncoder(encoders=tuple(paths[:1]), frames=frames, probe=ProbeConfig(stack=3), threads=1))


def test_what_was_probed_before_an_end_that_came_early_is_written(frames, tmp_path, monkeypatch):
    paths = [str(tmp_path / name) for name in "ab"]
    for path in paths:
        NatureCNN(feature_dim=31).save_pretrained(path)

    def stopped_at_the_second(probe, name, encoder, *, seed):
        if name == paths[1]:
            raise KeyboardInterrupt
        return probe_record(probe, name, encoder, seed=seed)

    monkeypatch.setattr("scripts.probe_encoder.probe_record", stopped_at_the_second)
    output = tmp_path / "scores.json"
    settings = ProbeConfig(most_frames=997, linear=LinearConfig(epochs=1))
    with pytest.raises(KeyboardInterrupt):
        main(ProbeEncoder(encoders=tuple(paths), frames=frames, probe=settings, device="cpu", threads=1, output=output))
    assert [score["encoder"] for score in json.loads(output.read_text())["scores"]] == paths[:1]


def test_encoders_are_probed_and_trained_on_the_device_asked_for(frames, tmp_path, monkeypatch):
    path = str(tmp_path / "encoder")
    NatureCNN(feature_dim=31).save_pretrained(path)
    used, features = [], EncoderProbe.features

    def on_device(probe, encoder):
        used.append(next(encoder.parameters()).device.type)
        return features(probe, encoder)

    monkeypatch.setattr(EncoderProbe, "features", on_device)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = ProbeConfig(most_frames=997, linear=LinearConfig(epochs=1))
    main(ProbeEncoder(encoders=(path,), frames=frames, probe=settings, supervised_minutes=0.01, threads=1))
    assert used == [device] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device 'cuda' was asked for, but PyTorch .* sees no GPU here"):
        main(ProbeEncoder(encoders=(path,), frames=frames, device="cuda", threads=1))
