"""Names of tasks: the path of parent and child index, the same in every run."""

import trio

__all__ = ["TaskNames", "TaskPath", "task_name"]

TaskPath = tuple[str | int, ...]


def task_name(path: TaskPath) -> str:
    """Return a path as text: the host, and the indices below it."""
    return f"{path[0]} {'.'.join(map(str, path[1:]))}"


class TaskNames(trio.abc.Instrument):
    """Gives every task its path of parent and child index: the same in every run, whatever else is deleted from it."""

    def __init__(self) -> None:
        self.paths: dict[trio.lowlevel.Task, TaskPath] = {}
        self._children: dict[TaskPath, int] = {}
        self.root: trio.lowlevel.Task | None = None

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Name a new task."""
        nursery = task.parent_nursery
        parent = nursery.parent_task if nursery is not None else None
        # What the world itself starts is named, so that the order of hosts does not depend on when they started.
        base = (
            (task.name,)
            if parent is self.root and parent is not None
            else self.paths.get(parent, ("",))
            if parent
            else ("",)
        )
        number = self._children.get(base, 0)
        self._children[base] = number + 1
        self.paths[task] = (*base, number)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget a task that ended, and how many children it had."""
        self._children.pop(self.paths.pop(task), None)
