"""Tasks by name: what a config's `task` section may bind."""

from nnjax.tasks.classification import classification
from nnjax.tasks.ctc import ctc
from nnjax.tasks.task import Task

__all__ = ['Task', 'classification', 'ctc']
