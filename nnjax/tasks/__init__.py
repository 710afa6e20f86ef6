"""Tasks by name: what a config's `task` section may bind."""

from nnjax.tasks.classification import classification
from nnjax.tasks.clustering import clustering
from nnjax.tasks.contrast import contrast
from nnjax.tasks.ctc import ctc
from nnjax.tasks.detection import detection
from nnjax.tasks.language_model import language_model
from nnjax.tasks.qa import qa
from nnjax.tasks.reconstruction import reconstruction, vae
from nnjax.tasks.regression import regression
from nnjax.tasks.task import Task
from nnjax.tasks.translation import translation
from nnjax.tasks.verification import verification

__all__ = [
    'Task',
    'classification',
    'clustering',
    'contrast',
    'ctc',
    'detection',
    'language_model',
    'qa',
    'reconstruction',
    'regression',
    'translation',
    'vae',
    'verification',
]
