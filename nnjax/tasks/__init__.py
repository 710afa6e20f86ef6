"""Tasks by name: what a config's `task` section may bind."""

from nnjax.tasks.classification import classification
from nnjax.tasks.detection import detection
from nnjax.tasks.task import Task

__all__ = ['Task', 'classification', 'detection']
