import pytest

from seqmodels.tasks import TASKS, Task, make_task

PUBLISHED = {"text", "retrieval", "image", "sequential-mnist", "sequential-cifar"}


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in TASKS for preset in TASKS[name]])
def test_every_task_of_the_table_can_be_built_and_bears_its_name(name, preset, published):
    task = make_task(name, preset=preset, data=published)
    assert isinstance(task, Task)
    assert task.spec.name == name


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_has_a_size_for_a_laptop(name):
    assert "laptop" in TASKS[name]


def test_the_published_sizes_are_those_of_the_papers(published):
    def length(name):
        return make_task(name, preset="paper", data=published).spec.max_length

    assert length("selective-copying") == 4096 + 16
    assert length("induction-heads") == 256
    assert length("mqar") == 256
    assert length("adding") == 1000
    assert length("listops") == 1999
    assert length("pathfinder") == 1024
    assert length("text") == 4096
    assert length("retrieval") == 4000
    assert length("image") == 1024
    assert length("sequential-mnist") == 784
    assert make_task("pathfinder", preset="paper-128").spec.max_length == 128**2


@pytest.mark.parametrize(("preset", "blank"), [("laptop", 1 - 12 / 64), ("paper", 1 / 8192)])
def test_the_published_mqar_alone_has_random_tokens_between_queries(preset, blank):
    # Both sizes of `laptop` have three tokens a pair in 16 positions a pair.
    batch = next(make_task("mqar", preset=preset).batches("train", batch_size=7, seed=0))
    assert (batch.inputs == 0).float().mean().item() == pytest.approx(blank, abs=0.01)


def test_an_unknown_task_is_answered_with_the_nearest_names():
    with pytest.raises(ValueError, match="unknown task 'selective-coping'; nearest names: selective-copying, copying"):
        make_task("selective-coping")


def test_an_unknown_preset_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="task pathfinder has no preset 'huge', only laptop, paper, paper-64, paper-"):
        make_task("pathfinder", preset="huge")


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_missing_files_are_named_with_their_place_and_format_when_the_task_is_built(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"task {name} found nothing at {tmp_path}/.*; expected in the data"):
        make_task(name, data=tmp_path)
