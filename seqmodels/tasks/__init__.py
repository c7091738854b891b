"""Tasks that ask how far a sequence model remembers: generated ones, and those of published files."""

from .task import NOT_SCORED, Batch, Split, Task, TaskOfAnyLength, TaskSpec

__all__ = ["NOT_SCORED", "Batch", "Split", "Task", "TaskOfAnyLength", "TaskSpec"]
