import json

import pytest
import torch

from gen_ssl.encoders import DQN2013CNN, NatureCNN
from gen_ssl.probing import LinearConfig, ProbeConfig
from scripts.probe_encoder import RANDOM, SUPERVISED, ProbeEncoder, architectures_of, main
from scripts.run.pretrain_frames import collect_random_frames


def test_an_encoder_is_probed_beside_both_ends_of_the_scale(tmp_path, capsys):
    collect_random_frames(tmp_path / "frames", game="Pong", num_frames=3_501, seed=0)
    torch.manual_seed(0)
    NatureCNN(feature_dim=31).save_pretrained(tmp_path / "encoder")
    encoder = str(tmp_path / "encoder")
    main(
        ProbeEncoder(
            encoders=(encoder,),
            frames=tmp_path / "frames",
            seeds=(0, 1),
            supervised_minutes=0.02,
            probe=ProbeConfig(linear=LinearConfig(epochs=1)),
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
