import json
import os
import stat

import pytest
import torch

from gen_ssl.encoders import DQN2013CNN, NatureCNN, load_encoder

SHAPE = (3, 55, 77)


@pytest.fixture
def saved(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_loaded_encoder_has_the_class_arguments_and_weights_of_the_saved_one(encoder, saved, feature_dim):
    for loaded in (load_encoder(saved), type(encoder).from_pretrained(str(saved))):
        assert type(loaded) is type(encoder)
        assert (loaded.frame_shape, loaded.feature_dim) == (SHAPE, feature_dim)
        expected, actual = encoder.state_dict(), loaded.state_dict()
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_the_folder_holds_the_architecture_and_its_arguments_and_no_pickle(encoder, saved, arguments):
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((saved / "config.json").read_text())
    in_json = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
    assert config == {"architecture": type(encoder).__name__, **in_json}


def test_arguments_left_at_their_defaults_are_saved_too(tmp_path):
    NatureCNN(SHAPE).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["feature_dim"] == 512


def test_saving_again_keeps_the_model_card_and_replaces_the_weights(encoder, saved):
    (saved / "README.md").write_text("mine")
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    encoder.save_pretrained(saved)
    assert (saved / "README.md").read_text() == "mine"
    assert torch.equal(next(load_encoder(saved).parameters()), next(encoder.parameters()))


def test_a_save_that_fails_leaves_the_last_good_encoder(encoder, saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with torch.no_grad():
        next(encoder.parameters()).add_(1)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        encoder.save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_whoever_may_read_the_config_may_read_the_weights(saved):
    modes = {stat.S_IMODE((saved / name).stat().st_mode) for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1


def test_an_encoder_of_another_class_is_refused_with_both_names(tmp_path):
    DQN2013CNN(SHAPE).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a DQN2013CNN, not a NatureCNN"):
        NatureCNN.from_pretrained(tmp_path)


def test_a_file_is_refused_as_not_an_encoder(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights.pt is a file; a saved encoder is a folder of config.json"):
        load_encoder(tmp_path / "weights.pt")


def test_a_folder_without_config_is_refused_as_not_an_encoder(tmp_path):
    with pytest.raises(ValueError, match="is not a saved encoder: it has no config.json"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3", '{"model_type": "vit"}'])
def test_a_config_without_architecture_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json is not the config of an encoder: it names no architecture"):
        load_encoder(tmp_path)


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "AlexNet"}')
    with pytest.raises(ValueError, match="'AlexNet', which is not one of our encoders: NatureCNN, DQN2013CNN"):
        load_encoder(tmp_path)


def test_unknown_arguments_are_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "nonsense": 3}))
    with pytest.raises(ValueError, match="config.json does not describe a .*nonsense"):
        load_encoder(saved)


def test_truncated_weights_are_refused(saved):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model.safetensors is not a readable safetensors file"):
        load_encoder(saved)


def test_missing_weights_are_refused(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="model.safetensors is not a readable safetensors file"):
        load_encoder(saved)


def test_weights_of_another_shape_are_refused_in_one_line(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "frame_shape": [5, 55, 77]}))
    with pytest.raises(ValueError, match=r"model.safetensors does not fit config.json: .*size mismatch") as caught:
        load_encoder(saved)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_neither_folder_nor_repository_is_refused(tmp_path):
    for name in (str(tmp_path / "nothing"), "no-such-owner/no-such-encoder"):
        with pytest.raises(FileNotFoundError, match=f"no folder {name}, and the Hugging Face Hub gave no encoder"):
            load_encoder(name, local_files_only=True)
