"""The three Transformers: published size, one row alone, packed rows, decoding by a cache."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax import schema
from nnjax.errors import UserError
from nnjax.models import Transformer, TransformerDecoder, TransformerEncoder
from nnjax.models.sequences import sinusoids
from nnjax.ops import decode
from tests.test_attention import near, normal, random_variables
from tests.test_decode import assert_same, plain_beam, texts

SMALL = dict(width=16, heads=4, layers=1, hidden=24, length=16)
LENGTHS = np.array([6, 2, 4], np.int32)
GARBAGE = np.iinfo(np.int32).max
POSITIONS = ['sinusoidal', 'learned', 'rotary', 'none']
# what the sizes of a test hold besides the usual
KINDS = [
    {},
    dict(positions='rotary', groups=2, norm='rms', activation='swiglu'),
    dict(positions='learned', order='post'),
]


def tokens(seed, *shape):
    return np.random.default_rng(seed).integers(0, 9, shape).astype(np.int32)


def dirtied(ids, lengths):
    return np.where(np.arange(ids.shape[1]) < lengths[:, None], ids, GARBAGE)


def run(model, variables, *inputs, **options):
    """One compiled call."""
    return jax.jit(partial(model.apply, **options))(variables, *inputs)


def size(model, *inputs):
    tree = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_base_has_the_published_size():
    """65 million with a vocabulary of 37,000 (Vaswani et al., 2017, tables 2 and 3)."""
    base = dict(width=512, heads=8, layers=6, activation='relu', order='post')
    ids, lengths = np.zeros((1, 4), np.int32), np.ones(1, np.int32)
    found = size(Transformer(vocabulary=37_000, **base), ids, lengths, ids, lengths)
    attention, hidden, norm = 4 * 512 * 513, 513 * 2048 + 2049 * 512, 2 * 512
    encoder = 6 * (attention + hidden + 2 * norm)
    decoder = 6 * (2 * attention + hidden + 3 * norm)
    assert found == 37_000 * 512 + encoder + decoder == 63_082_496
    own = size(
        Transformer(vocabulary=37_000, target_vocabulary=1000, tied=False, **base),
        ids, lengths, ids, lengths,
    )  # fmt: skip
    assert own == found + 2 * 1000 * 512


def test_sizes_of_fewer_groups_and_other_parts():
    ids = np.zeros((1, 4), np.int32)
    plain = size(TransformerDecoder(vocabulary=9, **SMALL), ids)
    block = 4 * 16 * 17 + 17 * 24 + 25 * 16 + 4 * 16
    assert plain == 9 * 16 + block + 2 * 16
    assert size(TransformerDecoder(vocabulary=9, groups=2, **SMALL), ids) == plain - 17 * 16
    assert size(TransformerDecoder(vocabulary=9, norm='rms', **SMALL), ids) == plain - 3 * 16
    assert size(TransformerDecoder(vocabulary=9, positions='learned', **SMALL), ids) == (
        plain + 16 * 16
    )
    halves = TransformerDecoder(vocabulary=9, activation='swiglu', **SMALL)
    assert size(halves, ids) == plain + 17 * 24


@pytest.mark.parametrize(
    'pool, kind', [('cls', KINDS[0]), ('mean', KINDS[1]), ('max', KINDS[2]), ('none', {})]
)
def test_a_row_of_an_encoder_is_what_it_is_alone(pool, kind):
    model = TransformerEncoder(**SMALL, **kind, classes=3, pool=pool, vocabulary=9)
    ids = tokens(0, 3, 6)
    variables = random_variables(model, ids, LENGTHS)
    together = run(model, variables, dirtied(ids, LENGTHS), LENGTHS)
    assert together.dtype == jnp.float32
    alone = run(model, variables, ids[2:, :4])[0]
    near(together[2, :4] if pool == 'none' else together[2], alone, 1e-5)


def test_numbers_may_be_read_too():
    """Features of sound, or an image row by row; NaN behind the length is not seen."""
    model = TransformerEncoder(**SMALL, classes=3)
    x = normal(0, 3, 6, 5)
    variables = random_variables(model, x, LENGTHS)
    dirty = jnp.where((np.arange(6) < LENGTHS[:, None])[..., None], x, jnp.nan)
    found = run(model, variables, dirty, LENGTHS)
    near(found[1], run(model, variables, x[1:2, :2])[0], 1e-5)
    near(run(model, variables, x.reshape(3, 6, 5, 1), LENGTHS), found, 1e-5)  # row by row


@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_translation_of_a_row_is_that_of_it_alone(kind):
    model = Transformer(**SMALL, **kind, vocabulary=9, target_vocabulary=7, tied=False)
    source, target, far = tokens(0, 3, 6), tokens(1, 3, 5) % 7, np.array([2, 5, 3], np.int32)
    variables = random_variables(model, source, LENGTHS, target, far)
    arguments = dirtied(source, LENGTHS), LENGTHS, dirtied(target, far), far
    together = run(model, variables, *arguments)
    assert together.shape == (3, 5, 7)
    alone = run(model, variables, source[2:, :4], None, target[2:, :3], None)
    near(together[2, :3], alone[0], 1e-5)


@pytest.mark.parametrize('positions', POSITIONS)
@pytest.mark.parametrize('model', [TransformerDecoder, TransformerEncoder])
def test_packed_rows_are_those_texts_alone(model, positions):
    fields = dict(pool='none', classes=3) if model is TransformerEncoder else {}
    model = model(**SMALL, **fields, positions=positions, vocabulary=9)
    packed = tokens(0, 1, 8)
    segments = np.array([[1, 1, 1, 2, 2, 3, 0, 0]], np.int32)
    variables = random_variables(model, packed)
    dirty = np.where(segments > 0, packed, GARBAGE)
    together = run(model, variables, dirty, None, segments)[0]
    spoilt = np.where(segments > 0, segments, GARBAGE)
    near(run(model, variables, dirty, np.array([6], np.int32), spoilt)[0, :6], together[:6], 1e-6)
    for part in (slice(0, 3), slice(3, 5)):
        near(together[part], run(model, variables, packed[:, part])[0], 1e-5)


@pytest.mark.parametrize(
    'positions, kind', [*((name, {}) for name in POSITIONS), ('rotary', KINDS[1])]
)
def test_a_decoder_goes_step_by_step_as_at_once(positions, kind):
    fields = SMALL | kind | dict(positions=positions, layers=2)
    model = TransformerDecoder(**fields, vocabulary=9)
    ids = tokens(0, 2, 5)
    variables = random_variables(model, ids)
    cache = model.apply(variables, 2, 7, method='begin')
    whole = run(model, variables, ids)
    assert {len(leaf) for leaf in jax.tree.leaves(cache)} == {2}
    step = jax.jit(lambda cache, ids: model.apply(variables, cache, ids, method='decode'))
    for time, expected in enumerate(np.swapaxes(whole, 0, 1)):
        logits, cache = step(cache, ids[:, time])
        near(logits, expected, 1e-5)


@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_targets_of_one_source_share_its_memory_step_by_step(kind):
    """Three targets of each of two sources, at places of their own in the cache."""
    model = Transformer(**SMALL, **kind, vocabulary=9)
    source, lengths, target = tokens(0, 2, 6), np.array([6, 3], np.int32), tokens(1, 6, 5)
    variables = random_variables(model, source, lengths, target[:2], None)
    many = (np.repeat(a, 3, 0) for a in (source, lengths))
    expected = np.swapaxes(run(model, variables, *many, target, None), 0, 1)
    memory = run(model, variables, source, lengths, method='encode')
    cache = jax.jit(lambda memory: model.apply(variables, memory, 7, 3, method='begin'))(memory)
    cache = {n: a if n == 'memory' else jax.tree.map(lambda a: jnp.repeat(a, 3, 0), a)
             for n, a in cache.items()}  # fmt: skip
    step = jax.jit(lambda cache, ids: model.apply(variables, cache, ids, method='decode'))
    for time in range(5):
        logits, cache = step(cache, target[:, time])
        near(logits, expected[time], 1e-5)
        assert cache['position'].tolist() == [time + 1] * 6


@pytest.mark.parametrize('kind', KINDS[:2], ids=['plain', 'grouped'])
def test_a_beam_on_a_cache_is_that_of_lists_on_whole_texts(kind):
    model, beams, length = Transformer(**SMALL, **kind, vocabulary=9), 3, 5
    source, lengths, target = tokens(0, 2, 6), np.array([6, 3], np.int32), tokens(1, 2, 5)
    variables = random_variables(model, source, lengths, target, None)

    @jax.jit
    def search(variables, source, lengths):
        apply = partial(model.apply, variables)
        cache = apply(apply(source, lengths, method='encode'), length, beams, method='begin')
        step = lambda cache, ids: apply(cache, ids, method='decode')
        return decode.beam(step, cache, jnp.full(2, 2), length, beams, 0.8, beams)

    @jax.jit
    def whole(source, length, target):
        return jax.nn.log_softmax(model.apply(variables, source, length, target, None))

    found = search(variables, source, lengths)
    for row in range(2):

        def following(prefix, row=row):
            padded = np.zeros((1, length), np.int32)
            padded[0, : len(prefix)] = prefix
            one = slice(row, row + 1)
            return np.asarray(whole(source[one], lengths[one], padded))[0, len(prefix) - 1]

        expected = plain_beam(following, 2, length, beams, 0.8, beams, eos=3)
        assert_same(texts(found, row), expected)


def test_a_decoder_does_not_see_what_follows():
    model = TransformerDecoder(**SMALL, vocabulary=9)
    ids = tokens(0, 1, 6)
    variables = random_variables(model, ids)
    changed = ids.copy()
    changed[:, 3] = (ids[:, 3] + 1) % 9
    a, b = run(model, variables, ids), run(model, variables, changed)
    near(a[:, :3], b[:, :3], 0)
    assert jnp.abs(a[:, 3:] - b[:, 3:]).max(-1).min() > 1e-4


def test_sinusoids_are_the_papers():
    found = sinusoids(jnp.arange(50), 12)
    for i in range(6):
        angle = np.arange(50) / 10_000 ** (2 * i / 12)
        near(found[:, 2 * i], np.sin(angle), 1e-5)
        near(found[:, 2 * i + 1], np.cos(angle), 1e-5)


@pytest.mark.slow
def test_dropout_of_a_shorter_bucket_is_that_of_the_longer():
    model = TransformerEncoder(**SMALL, vocabulary=9, dropout=0.5)
    ids, lengths = tokens(0, 3, 8), np.array([2, 5, 3], np.int32)
    variables = random_variables(model, ids)

    def dropped(time, key):
        rngs = {'dropout': jax.random.key(key)}
        return run(model, variables, ids[:, :time], lengths, train=True, rngs=rngs)

    near(dropped(8, 1), dropped(5, 1), 1e-5)
    assert np.abs(dropped(8, 1) - dropped(8, 2)).max() > 1e-2


@pytest.mark.slow
def test_rematerialisation_changes_no_number():
    ids, lengths = tokens(0, 2, 5), np.array([5, 3], np.int32)
    gradients = []
    for remat in (False, True):
        model = TransformerDecoder(**SMALL, vocabulary=9, dropout=0.1, remat=remat)
        variables = random_variables(model, ids)

        def loss(variables, model=model):
            rngs = {'dropout': jax.random.key(1)}
            logits = model.apply(variables, ids, lengths, train=True, rngs=rngs)
            return jnp.sum(jnp.sin(logits))

        gradients.append(jax.jit(jax.grad(loss))(variables))
        assert ('remat' in str(jax.make_jaxpr(jax.grad(loss))(variables))) == remat
    jax.tree.map(near, *gradients)


def test_bfloat16_is_near():
    model = TransformerDecoder(**SMALL, **KINDS[1], vocabulary=9)
    ids = tokens(0, 2, 5)
    variables = random_variables(model, ids)
    low = model.clone(dtype=jnp.bfloat16)
    logits, exact = run(low, variables, ids), run(model, variables, ids)
    assert logits.dtype == jnp.float32
    near(logits, exact, 0.1 * np.abs(exact).max())
    cache = low.apply(variables, 2, 5, method='begin')
    assert cache['memory']['own'][0]['key'].dtype == jnp.bfloat16
    near(run(low, variables, cache, ids[:, 0], method='decode')[0], logits[:, 0], 0.05)


@pytest.mark.parametrize(
    'model, fields, words',
    [
        (TransformerEncoder, dict(width=10), ['width=10', 'heads=4']),
        (TransformerEncoder, dict(groups=3), ['groups=3']),
        (TransformerEncoder, dict(width=12, positions='rotary'), ['even', '12/4']),
        (TransformerEncoder, dict(positions='learned', length=4), ['sequence of 5', 'length=5']),
        (TransformerEncoder, dict(vocabulary=None), ['int32 [1, 5]', '`vocabulary`']),
    ],
)
def test_what_it_refuses(model, fields, words):
    ids = np.zeros((1, 5), np.int32)
    with pytest.raises(UserError) as error:
        model(**SMALL | dict(vocabulary=9) | fields).init(jax.random.key(0), ids)
    assert all(word in str(error.value) for word in words) and '\n' not in str(error.value)


def test_what_needs_outputs_of_its_own():
    ids = np.ones((1, 5), np.int32)
    with pytest.raises(UserError, match="pool='none'"):
        TransformerEncoder(**SMALL, vocabulary=9).init(jax.random.key(0), ids, None, ids)
    with pytest.raises(UserError, match='asked=False'):
        asked = TransformerEncoder(**SMALL, pool='none', vocabulary=9, asked=True)
        asked.init(jax.random.key(0), ids, None, ids)
    model = TransformerDecoder(**SMALL, vocabulary=9, positions='learned')
    with pytest.raises(UserError, match='length=17'):
        model.apply(random_variables(model, ids), 2, 17, method='begin')


@pytest.mark.parametrize('model', [Transformer, TransformerDecoder, TransformerEncoder])
def test_every_field_has_a_line_of_help(model):
    assert all(field.doc for field in schema.fields(model).values())
