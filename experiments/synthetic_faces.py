"""Synthetic faces, drawn by numbers: are two images of one identity that was never seen? In colour."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '20 epochs'
    c.batch = 128
    faces = bind(sources.Tfds, name='synthetic_faces', valid=None, test=None)
    c.data = bind(sources.Identities, data=faces, valid='50', test='100')
    c.prepare = 'scale'
    c.augment = 'flip | affine(6, 0.05, (0.95, 1.05), 0) | color_jitter(0.2, 0.2, 0, 0)'
    vgg = bind(
        models.VGG, depth=11, width=0.25, norm='batch', head='average', dropout=0.0, classes=64
    )
    c.model = bind(models.Embedder, backbone=vgg, classes=450)
    c.task = bind(tasks.verification, loss='arcface', margin=0.3, scale=16.0)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.best = 'max ranking'
    c.eval_every = '2 epochs'
    return c
