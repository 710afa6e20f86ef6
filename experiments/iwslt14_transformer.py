"""IWSLT 2014, German to English, from the tokenized files that fairseq's prepare-iwslt14.sh leaves.

The files are train.de, train.en, valid.de ... in ~/iwslt14, cleaned but without parts of words.
"""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '60 epochs'
    c.batch = 128
    c.eval_batch = 128
    c.buckets = (16, 24, 32, 48, 64)
    pair = lambda split: (f'~/iwslt14/{split}.de', f'~/iwslt14/{split}.en')
    c.data = bind(sources.Parallel, train=pair('train'), valid=pair('valid'), test=pair('test'))
    c.prepare = "bpe(10000, 160, ('source', 'target'), begin=True, end=True)"
    c.model = bind(
        models.Transformer,
        vocabulary=10_000,
        width=512,
        heads=4,
        layers=6,
        hidden=1024,
        dropout=0.3,
    )
    c.task = bind(tasks.translation, smoothing=0.1, beams=5, penalty=1.0, longest=160)
    c.optim = bind(
        optim.make, name='adamw', lr=0.0005, decay='cosine', warmup='5%', weight_decay=0.0001
    )
    c.eval_every = '5 epochs'
    return c
