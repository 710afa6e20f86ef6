"""The logarithm of a diamond's price, with quantiles, from plotnine's table (pip install plotnine)."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '30 epochs'
    c.batch = 256
    c.data = bind(
        sources.Csv,
        path='plotnine:data/diamonds.csv',
        target='price',
        unique=True,
        test='20%',
    )
    c.prepare = 'standardize("features") | log | target'
    c.model = bind(models.TabularMLP, classes=5, hidden=(256, 256), frequencies=16, dropout=0.1)
    c.task = bind(tasks.regression, loss='quantile')
    c.optim = bind(optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%')
    c.ema = 0.999
    return c
