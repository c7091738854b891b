import numpy as np

from envs.action_log import ActionLog


def test_the_log_equals_plain_lists_under_random_operations():
    generator = np.random.default_rng(0)
    log = ActionLog(3, capacity=4)
    lists = [[], [], []]
    for _ in range(500):
        actions = generator.integers(256, size=3)
        log.append(actions)
        for env in range(3):
            lists[env].append(actions[env])
        mask = generator.random(3) < 0.1
        log.begin(mask)
        lists = [[] if begun else kept for begun, kept in zip(mask, lists, strict=True)]
        assert log.lengths.tolist() == [len(kept) for kept in lists]
        for env in range(3):
            assert log.actions(env).tolist() == lists[env]


def test_memory_follows_the_longest_log_and_not_the_number_of_steps():
    log = ActionLog(2, capacity=4)
    for step in range(1000):
        log.append(np.array([step % 256, 0]))
        log.begin(np.array([step % 10 == 9, step % 7 == 6]))
    assert len(log._rows) <= 40
