"""Runs every mixer of the table through the contract of `SequenceModel`: a new line there is tested here."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmodels.carried_state import map_state, select_rows, tensors_of
from seqmodels.mixers import MIXERS, make_mixer
from seqmodels.residual_stack import ResidualStack
from seqmodels.sequence_model import SequenceModel, outputs_of

B, L, D = 3, 23, 16  # heads of 4 numbers; L is longer than the windows and segments below, and no multiple of them

SMALL: dict[str, dict[str, Any]] = {
    "attention-window": {"window": 5},
    "infini-linear": {"segment_length": 5},
    "infini-delta": {"segment_length": 5},
}
EDGES = {
    "after the first": [1],
    "before the last": [L - 1],
    "across segments": [5, 10, 20],
    "anywhere": [2, 3, 4, 13, 14, 19],
    "one by one": list(range(1, L)),
}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}  # of the largest output

every_mixer = pytest.mark.parametrize("name", MIXERS)
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def mixer_of(name: str, dtype: torch.dtype = torch.float64, d_model: int = D) -> SequenceModel[Any]:
    torch.manual_seed(0)
    mixer = make_mixer(name, d_model, **SMALL.get(name, {}))
    assert isinstance(mixer, torch.nn.Module)
    return mixer.to(dtype)


def inputs(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_equal(actual: Tensor, expected: Tensor) -> float:
    """Returns the largest error, relative to the largest number expected."""
    error = float((actual - expected).abs().max() / expected.abs().max())
    assert error < TOLERANCE[expected.dtype], f"relative error {error:.1e}"
    return error


def in_chunks(mixer: SequenceModel[Any], x: Tensor, edges: list[int], **options: Any) -> tuple[Tensor, Any]:
    """Returns the outputs of the chunks between the edges put together, and the last state."""
    state = options.pop("state", None)
    resets = options.pop("resets", None)
    outputs = []
    for begin, end in zip([0, *edges], [*edges, x.shape[1]], strict=True):
        cut = None if resets is None else resets[:, begin:end]
        output, state = mixer(x[:, begin:end], state=state, resets=cut)
        outputs.append(output)
    return torch.cat(outputs, dim=1), state


def in_steps(mixer: SequenceModel[Any], x: Tensor, state: Any) -> tuple[Tensor, Any]:
    outputs = []
    for position in range(x.shape[1]):
        output, state = mixer.step(x[:, position], state)
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def numbers_per_row(state: Any) -> int:
    """Returns how many real numbers the state keeps for one row."""
    return sum(part[0].numel() * (2 if part.is_complex() else 1) for part in tensors_of(state))


@every_mixer
@both_dtypes
@pytest.mark.parametrize("edges", EDGES.values(), ids=EDGES)
def test_chunks_with_carried_state_equal_the_whole_sequence(name, dtype, edges):
    mixer, x = mixer_of(name, dtype), inputs(B, L, D, dtype=dtype)
    with torch.no_grad():
        whole, state_after_whole = mixer(x)
        chunks, state_after_chunks = in_chunks(mixer, x, edges)
        assert_equal(chunks, whole)
        further = inputs(B, 3, D, dtype=dtype, seed=2)
        assert_equal(mixer(further, state=state_after_chunks)[0], mixer(further, state=state_after_whole)[0])


@every_mixer
@both_dtypes
def test_steps_equal_the_whole_sequence(name, dtype):
    mixer, x = mixer_of(name, dtype), inputs(B, L, D, dtype=dtype)
    with torch.no_grad():
        whole, state_after_whole = mixer(x)
        steps, state_after_steps = in_steps(mixer, x, mixer.initial_state(B))
        assert_equal(steps, whole)
        further = inputs(B, 3, D, dtype=dtype, seed=2)
        # From a chunk to steps and from steps to a chunk.
        assert_equal(mixer(further, state=state_after_steps)[0], mixer(further, state=state_after_whole)[0])
        assert_equal(in_steps(mixer, further, state_after_whole)[0], mixer(further, state=state_after_whole)[0])


@every_mixer
@both_dtypes
def test_outputs_without_a_state_are_those_that_come_with_one(name, dtype):
    mixer, x = mixer_of(name, dtype), inputs(B, L, D, dtype=dtype)
    with torch.no_grad():
        assert_equal(outputs_of(mixer, x), mixer(x)[0])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert outputs_of(mixer, x).dtype == mixer(x)[0].dtype


@every_mixer
def test_no_state_is_the_initial_state(name):
    mixer, x = mixer_of(name), inputs(B, L, D)
    with torch.no_grad():
        assert_equal(mixer(x, state=mixer.initial_state(B))[0], mixer(x)[0])


@every_mixer
@both_dtypes
def test_a_reset_inside_a_row_equals_separate_rows(name, dtype):
    mixer, x = mixer_of(name, dtype), inputs(1, L, D, dtype=dtype)
    resets = torch.zeros(1, L, dtype=torch.bool)
    resets[0, [2, 13, 14]] = True
    with torch.no_grad():
        together, state = mixer(x, resets=resets)
        pieces = [mixer(x[:, begin:end]) for begin, end in [(0, 2), (2, 13), (13, 14), (14, L)]]
        assert_equal(together, torch.cat([output for output, _ in pieces], dim=1))
        further = inputs(1, 3, D, dtype=dtype, seed=2)
        assert_equal(mixer(further, state=state)[0], mixer(further, state=pieces[-1][1])[0])


@every_mixer
def test_rows_are_reset_at_their_own_places_with_a_state_carried_in(name):
    mixer, x, before = mixer_of(name), inputs(B, L, D), inputs(B, 7, D, seed=3)
    resets = torch.zeros(B, L, dtype=torch.bool)
    resets[0, [0, 9]] = True
    resets[2, [4, 17, L - 1]] = True
    earlier = torch.zeros(B, 7, dtype=torch.bool)
    earlier[1, 5] = True  # the carried state stands at another position in each row
    with torch.no_grad():
        _, state = mixer(before, resets=earlier)
        together, after = mixer(x, state=state, resets=resets)
        further = inputs(B, 6, D, seed=4)
        continued, _ = mixer(further, state=after)
        for row in range(B):
            carried = select_rows(state, torch.tensor([row]))
            edges = [0, *[place for place in resets[row].nonzero().flatten().tolist() if place], L]
            for begin, end in pairwise(edges):
                start = None if resets[row, begin] else carried
                alone, carried = mixer(x[row : row + 1, begin:end], state=start)
                assert_equal(together[row : row + 1, begin:end], alone)
            assert_equal(continued[row : row + 1], mixer(further[row : row + 1], state=carried)[0])


@every_mixer
@pytest.mark.parametrize("edges", EDGES.values(), ids=EDGES)
def test_chunks_with_resets_equal_the_whole_sequence_with_resets(name, edges):
    mixer, x = mixer_of(name), inputs(B, L, D)
    resets = torch.rand(B, L, generator=torch.Generator().manual_seed(5)) < 0.1
    with torch.no_grad():
        whole, after_whole = mixer(x, resets=resets)
        chunks, after_chunks = in_chunks(mixer, x, edges, resets=resets)
        assert_equal(chunks, whole)
        # A reset at once makes the state before it not matter.
        further = inputs(B, 3, D, seed=2)
        assert_equal(mixer(further, state=after_chunks)[0], mixer(further, state=after_whole)[0])
        now = torch.tensor([[True, False, False]]).expand(B, 3)
        assert_equal(mixer(further, state=after_chunks, resets=now)[0], mixer(further)[0])


@every_mixer
def test_resets_and_chunks_agree_across_the_blocks_in_which_a_mixer_computes(name):
    # Longer than any block, and with settings of its own: windows and segments of 64, states of 16 and 64 numbers.
    torch.manual_seed(0)
    mixer, x = make_mixer(name, D).double(), inputs(2, 150, D)
    resets = torch.zeros(2, 150, dtype=torch.bool)
    resets[0, [63, 64, 130]] = resets[1, 70] = True
    with torch.no_grad():
        whole, _ = mixer(x, resets=resets)
        assert_equal(in_chunks(mixer, x, [65, 66, 129], resets=resets)[0], whole)
        assert_equal(whole[1:, 70:], mixer(x[1:, 70:])[0])
        assert_equal(whole[:1, 64:130], mixer(x[:1, 64:130])[0])
        assert_equal(in_steps(mixer, x[1:, 70:], mixer.initial_state(1))[0], whole[1:, 70:])


@every_mixer
def test_no_reset_anywhere_changes_nothing(name):
    mixer, x = mixer_of(name), inputs(B, L, D)
    with torch.no_grad():
        assert_equal(mixer(x, resets=torch.zeros(B, L, dtype=torch.bool))[0], mixer(x)[0])


@every_mixer
@pytest.mark.parametrize("with_resets", [False, True])
def test_an_output_depends_on_no_later_input(name, with_resets):
    mixer, x = mixer_of(name), inputs(B, L, D).requires_grad_()
    resets = torch.rand(B, L, generator=torch.Generator().manual_seed(6)) < 0.1 if with_resets else None
    output, _ = mixer(x, resets=resets)
    for place in (0, 11, L - 2):
        # The gradient of what stands up to `place` is zero after it; convolutions by FFT leave rounding there.
        weight = inputs(D, seed=7)
        (gradient,) = torch.autograd.grad((output[:, : place + 1] @ weight).sum(), x, retain_graph=True)
        assert gradient[:, : place + 1].abs().max() > 0
        assert gradient[:, place + 1 :].abs().max() < 1e-12 * gradient.abs().max()


@every_mixer
def test_a_reset_stops_the_gradient_too(name):
    mixer, x = mixer_of(name), inputs(B, L, D).requires_grad_()
    resets = torch.zeros(B, L, dtype=torch.bool)
    resets[:, 13] = True
    output, _ = mixer(x, resets=resets)
    (gradient,) = torch.autograd.grad((output[:, 13:] @ inputs(D, seed=7)).sum(), x)
    assert gradient[:, :13].abs().max() < 1e-12 * gradient.abs().max()


@every_mixer
@pytest.mark.parametrize("stepping", [False, True])
def test_gradients_flow_through_the_carried_state(name, stepping):
    mixer, x, weight = mixer_of(name), inputs(B, L, D).requires_grad_(), inputs(L, D, seed=7)
    whole, _ = mixer(x)
    expected = torch.autograd.grad((whole * weight).sum(), [x, *mixer.parameters()])
    pieces = in_steps(mixer, x, mixer.initial_state(B)) if stepping else in_chunks(mixer, x, [8, 9, 17])
    actual = torch.autograd.grad((pieces[0] * weight).sum(), [x, *mixer.parameters()])
    scale = max(gradient.abs().max() for gradient in expected)
    error = max((one - other).abs().max() for one, other in zip(actual, expected, strict=True)) / scale
    print(f"{name}, gradients through carried states: {error:.1e}")  # docs/results/sequences.md
    assert error < 1e-9


@every_mixer
def test_a_given_state_is_not_modified(name):
    mixer, x = mixer_of(name), inputs(B, L, D)
    resets = torch.zeros(B, L, dtype=torch.bool)
    resets[1, 3] = True
    with torch.no_grad():
        _, state = mixer(x)
        copy = map_state(Tensor.clone, state)
        _, after = mixer(x, state=state, resets=resets)
        _, after_step = mixer.step(x[:, 0], state)
        for tensor in (*tensors_of(after), *tensors_of(after_step)):
            tensor.zero_()  # and shares no memory with what is returned
    for now, then in zip(tensors_of(state), tensors_of(copy), strict=True):
        assert torch.equal(now, then)


@every_mixer
@both_dtypes
def test_a_state_has_the_batch_first_the_modules_dtype_and_the_size_that_it_says(name, dtype):
    mixer = mixer_of(name, dtype)
    with torch.no_grad():
        _, later = mixer(inputs(B, L, D, dtype=dtype))
    for state, length in ((mixer.initial_state(B), 0), (later, L)):
        for tensor in tensors_of(state):
            assert len(tensor) == B
            assert not tensor.is_floating_point() or tensor.dtype == dtype
        assert numbers_per_row(state) == mixer.state_size(length)


@every_mixer
def test_rows_do_not_depend_on_each_other(name):
    mixer, x = mixer_of(name), inputs(B, L, D)
    with torch.no_grad():
        together, state = mixer(x)
        rows = torch.tensor([2, 0])
        assert_equal(mixer(x[rows])[0], together[rows])
        further = inputs(B, 3, D, seed=2)
        assert_equal(mixer(further[rows], state=select_rows(state, rows))[0], mixer(further, state=state)[0][rows])


@every_mixer
def test_a_single_row_of_length_one_works(name):
    mixer, x = mixer_of(name), inputs(1, 1, D)
    with torch.no_grad():
        output, state = mixer(x)
        assert output.shape == x.shape
        assert_equal(mixer.step(x[:, 0], mixer.initial_state(1))[0], output[:, 0])
        assert_equal(mixer(x, state=state, resets=torch.ones(1, 1, dtype=torch.bool))[0], output)


@every_mixer
def test_a_state_that_does_not_fit_the_batch_is_refused(name):
    mixer = mixer_of(name)
    with pytest.raises(ValueError, match=f"as many rows as the batch, {B}, got a tensor of shape \\(2, "):
        mixer(inputs(B, L, D), state=mixer.initial_state(2))
    with pytest.raises(ValueError, match="as many rows as the batch"):
        mixer.step(inputs(B, D), mixer.initial_state(2))


@every_mixer
@pytest.mark.parametrize("stepping", [False, True])
@pytest.mark.usefixtures("unchecked_signatures")
def test_a_state_of_another_mixer_or_of_another_size_is_refused(name, stepping):
    # In a stack, which asks it of every mixer.
    model = ResidualStack([mixer_of(name)], feed_forward_dim=None).double()
    wider = ResidualStack([mixer_of(name, d_model=2 * D)], feed_forward_dim=None).double()
    other = ResidualStack([mixer_of("lstm" if name != "lstm" else "gru")], feed_forward_dim=None).double()
    x = inputs(B, L, D)

    def go_on(state: Any) -> None:
        _ = model.step(x[:, 0], state) if stepping else model(x, state=state)

    kind, stranger = type(model.initial_state(B)[0]).__name__, type(other.initial_state(B)[0]).__name__
    with pytest.raises(ValueError, match=f"must be of type {kind} here, got {stranger}"):
        go_on(other.initial_state(B))
    with pytest.raises(ValueError, match=r"must have a tensor of shape \(batch, .*\) here, got \(3, "):
        go_on(wider.initial_state(B))
    with pytest.raises(ValueError, match="must have 1 parts, got 2"):
        go_on(model.initial_state(B) * 2)


@every_mixer
@pytest.mark.parametrize("stepping", [False, True])
@pytest.mark.usefixtures("unchecked_signatures")
def test_a_mixer_alone_refuses_such_states_too(name, stepping):
    mixer, x = mixer_of(name), inputs(B, L, D)

    def go_on(state: Any) -> None:
        _ = mixer.step(x[:, 0], state) if stepping else mixer(x, state=state)

    with pytest.raises(ValueError, match="the state must be of type .* here, got "):
        go_on(mixer_of("lstm" if name != "lstm" else "gru").initial_state(B))
    with pytest.raises(ValueError, match=r"must have a tensor of shape \(batch, .*\) here, got \(3, "):
        go_on(mixer_of(name, d_model=2 * D).initial_state(B))


@every_mixer
def test_under_autocast_a_state_is_carried_and_outputs_stay_near(name):
    mixer, x = mixer_of(name, torch.float32), inputs(B, L, D, dtype=torch.float32)
    with torch.no_grad():
        expected, _ = mixer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs, state = in_chunks(mixer, x[:, :-2], [8, 9, 17])
            steps, _ = in_steps(mixer, x[:, -2:], state)
    assert (torch.cat([outputs, steps], dim=1).float() - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.slow
@every_mixer
@both_dtypes
def test_whole_chunks_and_steps_agree_over_1024_positions(name, dtype):
    # With the defaults of each mixer, at a width that is not the small tests'.
    torch.manual_seed(0)
    mixer = make_mixer(name, 32)
    assert isinstance(mixer, torch.nn.Module)
    mixer.to(dtype)
    x = inputs(2, 1024, 32, dtype=dtype)
    resets = torch.zeros(2, 1024, dtype=torch.bool)
    resets[0, [64, 700]] = True
    with torch.no_grad():
        pieces = [mixer(x[:1, begin:end])[0] for begin, end in pairwise([0, 64, 700, 1024])]
        whole, _ = mixer(x)
        errors = {
            "rows cut by resets": assert_equal(mixer(x, resets=resets)[0][:1], torch.cat(pieces, dim=1)),
            "chunks": assert_equal(in_chunks(mixer, x, [1, 64, 65, 600, 1000])[0], whole),
            "steps": assert_equal(in_steps(mixer, x, mixer.initial_state(2))[0], whole),
        }
    for what, error in errors.items():
        print(f"{name}, {what}, {dtype}: {error:.1e}")  # docs/results/sequences.md


@pytest.mark.gpu
@every_mixer
def test_a_gpu_gives_the_numbers_of_the_cpu(name):
    mixer, x = mixer_of(name, torch.float32), inputs(B, L, D, dtype=torch.float32)
    resets = torch.zeros(B, L, dtype=torch.bool)
    resets[1, 7] = True
    with torch.no_grad():
        expected, state = mixer(x, resets=resets)
        expected_step, _ = mixer.step(x[:, 0], state)
        on_gpu = mixer.to("cuda")
        outputs, state = on_gpu(x.cuda(), resets=resets.cuda())
        step, _ = on_gpu.step(x[:, 0].cuda(), state)
        from_start, _ = on_gpu(x.cuda(), state=on_gpu.initial_state(B), resets=resets.cuda())
    # cuDNN multiplies in TF32, with ten bits after the point.
    for actual, wanted in ((outputs, expected), (step, expected_step), (from_start, expected)):
        assert (actual.cpu() - wanted).abs().max() < 3e-3 * wanted.abs().max()
