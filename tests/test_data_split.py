"""Split expressions mean what TFDS means by them; what would leak or be empty is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax.data import sources
from nnjax.data.source import Joined, Rows, hold_out
from nnjax.data.split import overlap, parse
from nnjax.errors import UserError

SIZES = {'train': 1437, 'test': 360}


def bounds(low, high):
    return st.one_of(
        st.just(''),
        st.integers(low, high).map(str),
        st.integers(-100, 100).map(lambda n: f'{n}%'),
        st.floats(-100, 100).map(lambda x: f'{x:.1f}%'),
    )


@given(st.sampled_from(list(SIZES)), bounds(-360, 360), bounds(-360, 360))
def test_rows_are_those_of_tfds(name, low, high):
    from tensorflow_datasets.core import splits

    if not low and not high:
        return
    text = f'{name}[{low}:{high}]'
    try:
        ((_, start, stop),) = parse(text, SIZES, 'data.train')
    except UserError as error:
        assert 'is empty' in str(error)
        start = stop = 0
    infos = {
        n: splits.SplitInfo(name=n, shard_lengths=[size], num_bytes=0) for n, size in SIZES.items()
    }
    if low and high and ('%' in low) != ('%' in high):
        return  # TFDS takes one unit for both ends; we take each as it is written
    theirs = splits.ReadInstruction.from_spec(text).to_absolute(infos)[0]
    wanted = range(theirs.from_ or 0, SIZES[name] if theirs.to is None else theirs.to)
    assert list(range(start, stop)) == list(wanted)


@given(st.integers(0, 1437), st.integers(0, 1437), st.integers(0, 1437))
def test_overlap_counts_shared_examples(a, b, c):
    low, middle, high = sorted((a, b, c))
    if low == middle or middle == high:
        return
    first = parse(f'train[:{middle}]', SIZES, 'x')
    second = parse(f'train[{low}:{high}] + test', SIZES, 'x')
    assert overlap(first, second) == middle - low
    assert overlap(first, parse(f'train[{middle}:]', SIZES, 'x') if middle < 1437 else ()) == 0


@pytest.mark.parametrize(
    'text, words',
    [
        ('trian', "did you mean 'train'"),
        ('train[a:]', "'a' is no row number"),
        ('train[1438:]', 'beyond the 1437'),
        ('train[:101%]', 'beyond the 1437'),
        ('train[5:5]', 'is empty'),
        ('train[9:3]', 'is empty'),
        ('train[7]', 'expected a split'),
        ('train[:10', 'expected a split'),
        ('', 'expected a split'),
        ('train+', 'expected a split'),
        ('train+train[:5]', 'holds an example twice'),
        ('train[:1shard]', 'no row number'),
    ],
)
def test_a_bad_expression_is_one_line(text, words):
    with pytest.raises(UserError) as error:
        parse(text, SIZES, 'data.train')
    assert words in str(error.value) and '\n' not in str(error.value)
    assert str(error.value).startswith(f'data.train={text!r}')


@pytest.mark.parametrize(
    'fields, count',
    [
        ({'valid': 'train[1400:]'}, 37),
        ({'train': 'train+test[:7]'}, 7),
        ({'train': 'train[:1000]', 'valid': 'test[:50%]'}, 180),
    ],
)
def test_shared_examples_are_refused(fields, count):
    with pytest.raises(UserError, match=f'shares {count} examples with'):
        sources.Tfds('digits', **fields)


def test_pieces_come_in_the_order_written():
    parts = sources.Tfds('digits', train='test[10:]+train[:5]', valid=None, test='test[:10]')
    whole = sources.Tfds('digits', valid=None)
    assert len(parts.train) == 355 and len(parts.test) == 10
    rows = np.array([354, 0, 350, 3])
    found = parts.train[rows]
    wanted = [whole.train[[4]], whole.test[[10]], whole.train[[0]], whole.test[[13]]]
    for number, one in enumerate(wanted):
        assert np.array_equal(found['image'][number], one['image'][0])
        assert found['label'][number] == one['label'][0]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.data())
def test_joined_is_concatenation(sizes, data):
    values = np.arange(sum(sizes))
    parts = np.split(values, np.cumsum(sizes)[:-1])
    source = Joined([Rows({'image': part}) for part in parts])
    rows = np.array(data.draw(st.lists(st.integers(0, sum(sizes) - 1), max_size=12)), np.int64)
    assert len(source) == len(values) and np.array_equal(source[rows]['image'], values[rows])


@pytest.mark.parametrize('text', ['10.5', '-3', 'half', '', '0', '0%', '100%', '100'])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UserError) as error:
        hold_out(Rows({'image': np.arange(100)}), text, 'valid')
    assert '\n' not in str(error.value)


def test_the_test_split_does_not_depend_on_the_validation_split(tmp_path):
    np.savez(tmp_path / 'a.npz', x=np.arange(100).reshape(100, 1), y=np.arange(100))
    some = [
        sources.Npz(str(tmp_path / 'a.npz'), valid=valid, test='20%')
        for valid in (None, '10%', '30')
    ]
    labels = [set(d.test[np.arange(20)]['label'].tolist()) for d in some]
    assert labels[0] == labels[1] == labels[2]
    for dataset in some[1:]:
        rest = {*dataset.train[np.arange(len(dataset.train))]['label'].tolist()}
        valid = {*dataset.valid[np.arange(len(dataset.valid))]['label'].tolist()}
        assert not rest & valid and not (rest | valid) & labels[0]
        assert len(rest) + len(valid) + 20 == 100
