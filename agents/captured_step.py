"""A gradient step recorded once as a CUDA graph and replayed: one launch in place of some hundred."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .transition import TransitionBatch, UpdateResult

_WARM_UP_STEPS = 3  # PyTorch's notes on CUDA graphs: allocators and libraries settle before the capture


class CapturedStep:
    """Replays `gradient_step` on batches of the shape of the first one.

    The first call warms up and captures, and puts weights and optimiser state back before the step it was asked for:
    a captured run takes the same steps as one that is not. The optimiser must be `capturable`. Weights and optimiser
    state must stay the same tensors; make a new `CapturedStep` when they were replaced.
    """

    def __init__(
        self,
        gradient_step: Callable[[TransitionBatch], UpdateResult],
        *,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._gradient_step = gradient_step
        self._network = network
        self._optimizer = optimizer
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: TransitionBatch
        self._result: UpdateResult

    def __call__(self, batch: TransitionBatch) -> UpdateResult:
        """Takes one step on `batch`; the returned tensors are overwritten by the next call."""
        if self._graph is None:
            self._graph = self._capture(batch)
        if batch.observation.shape != self._inputs.observation.shape:
            raise ValueError(
                f"the step was captured for observations of shape {tuple(self._inputs.observation.shape)}, "
                f"got {tuple(batch.observation.shape)}"
            )
        for placed, given in zip(self._inputs, batch, strict=True):
            placed.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._result

    def _capture(self, batch: TransitionBatch) -> torch.cuda.CUDAGraph:
        self._inputs = TransitionBatch(*(tensor.clone() for tensor in batch))
        weights = [parameter.detach().clone() for parameter in self._network.parameters()]
        optimizer_state = {key: value.clone() for key, value in self._optimizer_tensors().items()}
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable")  # these steps are not captured yet
            for _ in range(_WARM_UP_STEPS):
                self._gradient_step(self._inputs)
        torch.cuda.current_stream().wait_stream(side_stream)
        self._optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        # Environments may be encoding their frames on this GPU in another thread.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._result = self._gradient_step(self._inputs)
        with torch.no_grad():
            for parameter, weight in zip(self._network.parameters(), weights, strict=True):
                parameter.copy_(weight)
            for key, tensor in self._optimizer_tensors().items():
                # An optimiser makes its state in the first warm-up step: it was zero before.
                tensor.copy_(optimizer_state[key]) if key in optimizer_state else tensor.zero_()
        return graph

    def _optimizer_tensors(self) -> dict[tuple[int, Any], Tensor]:
        return {
            (index, name): value
            for index, state in enumerate(self._optimizer.state.values())
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
