"""Sorts a model's parameters into the groups that an optimiser treats differently."""

from typing import NamedTuple, Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class HasStateSpaceParameters(Protocol):
    """A module with parameters of a linear recurrence, which learn at a lower rate of their own."""

    def state_space_parameters(self) -> list[nn.Parameter]:
        """Returns them: S4's Lambda, P, B and dt; Mamba's A_log, D and the bias of dt."""
        ...


class ParameterGroups(NamedTuple):
    """Every trained parameter once, in the order of the model's own list."""

    decayed: list[nn.Parameter]  # matrices and convolutions
    not_decayed: list[nn.Parameter]  # biases, norms and embeddings
    state_space: list[nn.Parameter]  # never decayed either


def parameter_groups(model: nn.Module) -> ParameterGroups:
    """Returns the trained parameters of `model` in their groups.

    Weight decay pulls towards 0, which means nothing for a bias, a gain or a row of a table, and would move the poles
    of a recurrence (Gu et al. 2022, appendix D.2: state-space parameters have their own rate and no decay).
    """
    state_space = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, HasStateSpaceParameters)
        for parameter in module.state_space_parameters()
    }
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups = ParameterGroups([], [], [])
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in state_space:
            groups.state_space.append(parameter)
        # Vectors are biases and gains, whatever they are called; some biases are matrices (one row a head).
        elif parameter.ndim < 2 or id(parameter) in tables or name.rsplit(".", 1)[-1].endswith("bias"):
            groups.not_decayed.append(parameter)
        else:
            groups.decayed.append(parameter)
    return groups
