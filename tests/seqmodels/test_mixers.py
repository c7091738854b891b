import pytest
from torch import nn

from seqmodels.mixers import MIXERS, make_mixer
from seqmodels.sequence_model import SequenceModel


def test_an_unknown_mixer_is_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match="unknown mixer 'mamab': did you mean mamba"):
        make_mixer("mamab", 16)
    with pytest.raises(ValueError, match="unknown mixer 'xyz!': there are attention-rotary, "):
        make_mixer("xyz!", 16)


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_of_the_table_is_a_module_that_offers_the_contract(name):
    mixer = make_mixer(name, 16)
    assert isinstance(mixer, nn.Module)
    assert isinstance(mixer, SequenceModel)
    assert mixer.d_model == 16


def test_a_mixer_takes_its_own_settings():
    assert make_mixer("attention-window", 16, num_heads=2, window=7).state_size(0) == 6 * 33 + 1
    with pytest.raises(TypeError, match="unexpected keyword argument 'window'"):
        make_mixer("attention-rotary", 16, window=7)
