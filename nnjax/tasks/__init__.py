"""Tasks by name: what a config's `task` section may bind."""

from nnjax.tasks.classification import classification
from nnjax.tasks.detection import detection
from nnjax.tasks.task import Task
from nnjax.tasks.verification import verification

__all__ = ['Task', 'classification', 'detection', 'verification']
