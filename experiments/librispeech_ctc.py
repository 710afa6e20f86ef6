"""LibriSpeech, its 100 clean hours, to letters with a Conformer and CTC; by network."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '100 epochs'
    c.batch = 64
    c.eval_batch = 32
    c.precision = 'bfloat16'
    c.buckets = (96_000, 160_000, 208_000, 240_000, 272_000, 400_000)
    c.data = bind(
        sources.Tfds,
        name='librispeech/default',
        train='train_clean100',
        valid='dev_clean',
        test='test_clean',
        length=576_000,  # 36 seconds
    )
    c.prepare = 'transcript(length=640)'
    c.augment = 'speed | log_mel(80) | cmvn | spec_augment(10, 40, 2, 27)'
    c.model = bind(models.Conformer, width=256, blocks=16, heads=4, window=31, channels=128)
    c.task = bind(tasks.ctc)
    c.optim = bind(
        optim.make, name='adamw', lr=0.001, decay='cosine', warmup='5%', weight_decay=0.01, clip=1.0
    )
    c.best = 'min error'
    c.eval_every = '1 epoch'
    return c
