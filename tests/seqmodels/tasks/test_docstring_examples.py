import doctest
import importlib
import pkgutil

import pytest

import seqmodels.tasks

MODULES = [module.name for module in pkgutil.iter_modules(seqmodels.tasks.__path__, "seqmodels.tasks.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_printed_example_of_a_task_is_what_it_prints(name):
    module = importlib.import_module(name)
    failures, _ = doctest.testmod(module, verbose=False)
    assert failures == 0
