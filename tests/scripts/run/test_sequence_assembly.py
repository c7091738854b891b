from dataclasses import replace

import pytest
import torch
from torch import nn

from scripts.run.sequence_assembly import build_fabric, build_model, build_parts, build_task, describe_backend
from scripts.run.sequence_config import ArchitectureConfig, SequenceRunConfig
from seqmodels.attention import Attention
from seqmodels.s4 import S4
from seqmodels.training import SequenceTrainingConfig

SMALL = ArchitectureConfig(d_model=24, num_layers=2)
DIGITS = SequenceRunConfig(task="sequential-digits", model="gru", architecture=SMALL)


def model_of(name, **architecture):
    config = SequenceRunConfig(model=name, architecture=replace(SMALL, **architecture))
    return build_model(config, build_task(config).spec, 72)


def test_every_layer_has_the_number_of_heads_asked_for_and_else_the_mixers_own():
    for asked, expected in ((3, 3), (None, 4)):
        layers = [part for part in model_of("attention-rotary", num_heads=asked).modules() if type(part) is Attention]
        assert [layer.num_heads for layer in layers] == [expected, expected]


def test_every_layer_computes_with_the_backend_asked_for():
    assert describe_backend(model_of("mamba", backend="torch")) == "torch: as asked for"
    assert describe_backend(model_of("s4")) == "PyTorch: this mixer has no other backend"


def test_state_space_mixers_start_with_the_time_steps_asked_for_and_others_have_none():
    layers = [part for part in model_of("s4", dt_min=0.09).modules() if type(part) is S4]
    assert len(layers) == 2
    for layer in layers:
        assert layer.log_dt.exp().min() > 0.09 - 1e-6
    model_of("gru", dt_min=0.09)


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("gru", {"num_heads": 3}, "gru has no num_heads: it has none"),
        ("s4", {"backend": "torch"}, "s4 has no backend: it has d_state, dt_max, dt_min"),
    ],
)
def test_a_setting_that_a_mixer_does_not_have_is_refused(name, setting, message):
    with pytest.raises(ValueError, match=message):
        model_of(name, **setting)


def test_a_process_for_which_there_is_no_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="3 GPUs were asked for, but PyTorch sees 2 here"):
        build_fabric(DIGITS, torch.device("cuda"), num_processes=3)


def test_pixels_come_as_tokens_where_asked_for_and_before_and_after_pretraining():
    def input_layer(**changes):
        parts = build_parts(replace(DIGITS, **changes), build_fabric(DIGITS, torch.device("cpu")))
        return parts.training.model.input_layer

    assert isinstance(input_layer(), nn.Linear)
    assert input_layer(pixels_as_tokens=True).num_embeddings == 256
    assert input_layer(pretraining_steps=3).num_embeddings == 256 + 1  # the mask


def test_the_accuracy_and_loss_at_which_a_run_may_stop_are_not_those_of_pretraining():
    training = SequenceTrainingConfig(total_steps=7, stop_at_accuracy=0.5, stop_at_loss=0.1)
    config = replace(DIGITS, pretraining_steps=3, training=training)
    parts = build_parts(config, build_fabric(config, torch.device("cpu")))
    assert [one.config.stop_at_accuracy for one in parts.trainings] == [0.0, 0.5]
    assert [one.config.stop_at_loss for one in parts.trainings] == [0.0, 0.1]
