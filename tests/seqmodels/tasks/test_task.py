import pytest

from seqmodels.tasks import TaskSpec

FIELDS = {
    "name": "weather",
    "input": "tokens",
    "num_inputs": 7,
    "output": "class",
    "num_outputs": 3,
    "max_length": 11,
    "metric": "accuracy",
    "chance": 0.5,
}


def test_a_specification_without_outputs_is_refused():
    with pytest.raises(ValueError, match="num_outputs of task weather must be at least 1, got 0"):
        TaskSpec(**FIELDS | {"num_outputs": 0})


@pytest.mark.parametrize(("output", "metric"), [("class", "mean_squared_error"), ("regression", "accuracy")])
def test_a_metric_that_does_not_fit_the_output_is_refused(output, metric):
    with pytest.raises(ValueError, match=f"task weather measures {metric}, which does not fit its output '{output}'"):
        TaskSpec(**FIELDS | {"output": output, "metric": metric})
