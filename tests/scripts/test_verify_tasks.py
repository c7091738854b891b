import json

import numpy as np
import pytest

from scripts.verify_tasks import KeptTrees, VerifyTasks, grow_by_recursion, largest_difference, main
from seqmodels.tasks.listops_trees import ListOpsShape, evaluate


def test_the_figures_of_both_tasks_are_as_published_and_are_written(tmp_path, capsys):
    main(
        VerifyTasks(
            trees=600,
            recursion_trees=11,
            checked_trees=53,
            images=43,
            sizes=(16,),
            output=tmp_path / "figures.json",
            pictures=tmp_path / "new" / "images.png",
        )
    )
    records = json.loads((tmp_path / "figures.json").read_text())
    value = {(r["benchmark"], r["implementation"], r["setting"]): r["value"] for r in records}
    assert value["ListOps", "cartridge", "mean length"] == pytest.approx(1041, abs=100)
    assert value["ListOps", "cartridge", "kept"] == pytest.approx(8.3, abs=1.6)
    assert value["ListOps", "LRA's recursion", "mean length"] == pytest.approx(1041, abs=600)
    assert value["ListOps", "cartridge", "wrong labels of 53"] == 0
    assert sum(value["ListOps", "cartridge", f"answer {answer}"] for answer in range(10)) == pytest.approx(100)
    images = "Pathfinder, 16 x 16"
    assert value[images, "cartridge", "labels that a path search contradicts, of 43"] == 0
    assert value[images, "cartridge", "label 1"] == pytest.approx(50, abs=31)
    assert (tmp_path / "new" / "images.png").read_bytes().startswith(b"\x89PNG")
    assert "| ListOps | cartridge | mean length |" in capsys.readouterr().out


def test_the_recursion_gives_a_tree_and_its_value():
    generator = np.random.default_rng(0)
    for _ in range(300):
        tokens, value = grow_by_recursion(generator, 1, ListOpsShape(max_depth=4, max_args=3, min_length=1))
        assert evaluate(np.array(tokens, dtype=np.uint8)) == value


def test_shares_that_differ_are_noticed():
    ours, recursion = KeptTrees("ours", kept=1_000), KeptTrees("theirs", kept=400)
    ours.answers[:2], recursion.answers[:2] = (500, 500), (200, 200)
    assert largest_difference(ours, recursion) == 0
    recursion.answers[:2] = (240, 160)
    # 0.6 against 0.5, with 740 of 1,400 in all.
    share = 740 / 1_400
    expected = 0.1 / np.sqrt(share * (1 - share) * (1 / 1_000 + 1 / 400))
    assert largest_difference(ours, recursion) == pytest.approx(expected)


def test_a_size_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="sizes must be among 16, 32, 64, 128, got 24"):
        VerifyTasks(sizes=(24,))


@pytest.mark.parametrize("name", ["trees", "recursion_trees", "images"])
def test_a_check_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        VerifyTasks(**{name: 0})


def test_more_checks_than_trees_are_refused():
    with pytest.raises(ValueError, match="checked_trees must be at most trees, got 7 and 5"):
        VerifyTasks(trees=5, checked_trees=7)
