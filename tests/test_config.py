"""bind, override, load, save: a config is complete, typed, and refuses mistakes in one line."""

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax import config as configs
from nnjax import duration, schema
from nnjax.config import base, bind
from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count, Duration, Positive


def make(
    lr: Positive = 0.1,
    kind: Literal['sgd', 'adam'] = 'sgd',
    warmup: Duration = '0 steps',
    hidden: tuple[int, ...] = (64,),
    crop: tuple[int, int] = (4, 4),
    clip: Positive | None = None,
    smoothing: BelowOne = 0.0,
    layers: Count = 2,
    bias: bool = True,
    options: dict[str, float] = {},  # noqa: B006
    name: str = 'x',
):
    """Makes it.

    Args:
      lr: learning rate
      hidden: sizes of the hidden
        layers
    """
    return locals()


def config(**values):
    c = base()
    c.optim = bind(make, **values)
    return c.lock()


def test_bind_is_complete_and_typed():
    section = bind(make, lr=1)
    assert section.lr == 1.0 and isinstance(section.lr, float)
    assert set(section) == {'fn', *schema.fields(make)}
    assert section.clip is None and section.hidden == (64,)


@pytest.mark.parametrize(
    'values',
    [
        {'lrr': 1},
        {'lr': 'high'},
        {'lr': -1.0},
        {'lr': float('nan')},
        {'lr': True},
        {'kind': 'adm'},
        {'warmup': '3 bananas'},
        {'hidden': 3},
        {'hidden': ('a',)},
        {'crop': (1, 2, 3)},
        {'smoothing': 1.0},
        {'layers': 0},
        {'layers': 1.5},
        {'bias': 1},
        {'name': 3},
        {'clip': 0.0},
    ],
)
def test_bind_refuses_on_the_line_that_wrote_it(values):
    with pytest.raises(UserError) as error:
        bind(make, **values)
    assert '\n' not in str(error.value) and next(iter(values)) in str(error.value)


@pytest.mark.parametrize(
    'path, text, value',
    [
        ('optim.lr', '3', 3.0),
        ('optim.lr', '1e-3', 1e-3),
        ('optim.kind', 'adam', 'adam'),
        ('optim.kind', "'adam'", 'adam'),
        ('optim.hidden', '(1, 2)', (1, 2)),
        ('optim.hidden', '8,', (8,)),
        ('optim.hidden', '()', ()),
        ('optim.clip', '0.5', 0.5),
        ('optim.clip', 'None', None),
        ('optim.bias', 'false', False),
        ('optim.bias', 'False', False),
        ('optim.layers', '7', 7),
        ('optim.warmup', '5%', '5%'),
        ('optim.options.b2', '0.9', 0.9),
        ('optim.name', '12', '12'),
        ('seed', '3', 3),
        ('ema', '0.9', 0.9),
        ('patience', '2 epochs', '2 epochs'),
        ('devices', '2', 2),
    ],
)
def test_every_kind_of_field_is_settable_by_flag_and_by_value(path, text, value):
    for written in (text, value):
        c = config()
        configs.override(c, path, written)
        got = c
        for part in path.split('.'):
            got = got.get(part)
        assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    'path, text, words',
    [
        ('optim.lrr', '3', "did you mean 'lr'"),
        ('optm.lr', '3', "did you mean 'optim'"),
        ('optim', '3', 'section'),
        ('optim.lr.x', '3', 'not a section'),
        ('optim.fn', 'os.system', 'fixed'),
        ('optim.kind', 'adm', "did you mean 'adam'"),
        ('optim.lr', '-1', '> 0'),
        ('precision', 'bf16', 'bfloat16'),
        ('total', '3', 'duration'),
        ('seed', '-1', 'in [0, 4294967295]'),
        ('batch', '0', '>= 1'),
        ('batch', 1.5, 'a whole number'),
    ],
)
def test_a_bad_flag_is_one_line_with_what_is_allowed(path, text, words):
    with pytest.raises(UserError) as error:
        configs.override(config(), path, text)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_saved_configs_come_back_equal():
    c = config(hidden=(1, 2), clip=0.5)
    text = json.dumps(configs.to_json(c))
    assert configs.to_json(configs.from_json(json.loads(text))) == configs.to_json(c)


@pytest.mark.parametrize(
    'name',
    [
        'os.system',
        'subprocess.run',
        'nnjax.models.__builtins__',
        'nnjax.training.loop.train',
        'nnjax.models.nothing',
        'x',
        '',
    ],
)
def test_a_stranger_s_config_resolves_nothing_else(name):
    with pytest.raises(UserError):
        schema.resolve(name)


def test_a_smoke_test_has_one_bucket_unless_told():
    assert configs.load('number_words').buckets == (32, 40)
    assert configs.load('number_words:smoke').buckets == ()
    assert configs.load('number_words:smoke', {'buckets': '(32,)'}).buckets == (32,)


def test_help_lists_every_field_with_its_explanation():
    rows = {path: (value, allowed, doc) for path, value, allowed, doc in configs.describe(config())}
    assert rows['optim.lr'] == ('0.1', 'a number > 0', 'learning rate')
    assert rows['optim.hidden'][2] == 'sizes of the hidden layers'
    assert 'sgd, adam' in rows['optim.kind'][1]
    assert {f'optim.{n}' for n in schema.fields(make) if n != 'options'} <= set(rows)
    assert all(doc for path, (_, _, doc) in rows.items() if '.' not in path)


@given(st.integers(1, 10**6), st.integers(1, 4096), st.integers(1, 500))
def test_durations_agree_across_units(size, batch, epochs):
    steps = duration.steps(f'{epochs} epochs', size=size, batch=batch)
    assert steps == -(-epochs * size // batch)
    assert steps == duration.steps(f'{epochs * size} examples', size=size, batch=batch)
    assert duration.steps('100%', size=size, batch=batch, total=steps) == steps
    assert duration.steps(f'{steps} steps', size=size, batch=batch) == steps


@pytest.mark.parametrize('text', ['', '5', 'epochs', '-1 epochs', '5 %%', '1 epoch 2', 'nan steps'])
def test_bad_durations(text):
    with pytest.raises(UserError):
        duration.parse(text)


def test_a_total_cannot_be_a_share_of_itself():
    with pytest.raises(UserError, match='epochs, steps or examples'):
        duration.steps('5%', size=10, batch=1)
