import torch
from torch import nn

from seqmodels.parameter_groups import parameter_groups


class Recurrence(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_decay = nn.Parameter(torch.zeros(5, 3))
        self.read_out = nn.Parameter(torch.zeros(5, 3))

    def state_space_parameters(self):
        return [self.log_decay]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.recurrence = Recurrence()
        self.norm = nn.LayerNorm(5)
        self.head_bias = nn.Parameter(torch.zeros(2, 5))
        self.convolution = nn.Conv1d(5, 5, 3)
        self.output = nn.Linear(5, 11)


def names(model, parameters):
    wanted = {id(parameter) for parameter in parameters}
    return [name for name, parameter in model.named_parameters() if id(parameter) in wanted]


def test_matrices_decay_and_state_space_parameters_and_biases_norms_and_embeddings_do_not():
    model = Model()
    groups = parameter_groups(model)
    assert names(model, groups.state_space) == ["recurrence.log_decay"]
    assert names(model, groups.decayed) == ["recurrence.read_out", "convolution.weight", "output.weight"]
    assert names(model, groups.not_decayed) == [
        "head_bias",
        "embedding.weight",
        "norm.weight",
        "norm.bias",
        "convolution.bias",
        "output.bias",
    ]


def test_every_trained_parameter_is_in_one_group_even_where_two_modules_share_it():
    model = Model()
    model.output.weight = model.embedding.weight
    model.norm.weight.requires_grad = False
    groups = parameter_groups(model)
    sorted_in = [id(parameter) for group in groups for parameter in group]
    assert len(set(sorted_in)) == len(sorted_in)
    assert set(sorted_in) == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert "embedding.weight" in names(model, groups.not_decayed)
