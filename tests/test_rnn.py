"""models.RNN against PyTorch's recurrent modules on packed rows of different lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax import schema
from nnjax.errors import UserError
from nnjax.models import RNN, TransformerEncoder, sequences
from nnjax.ops import recurrent, sequence

LENGTHS = np.array([5, 1, 3, 4], np.int32)
CELLS = ['simple', 'lstm', 'gru']
PEERS = {'simple': 'RNN', 'lstm': 'LSTM', 'gru': 'GRU'}


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def random_variables(model, *inputs):
    """Parameters with every entry random, biases included."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [0.3 * normal(n, *leaf.shape) for n, leaf in enumerate(leaves)])


def near(actual, expected, tolerance=1e-4):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def names(cell, layers, both):
    """(our layer, the suffix of PyTorch's parameters)."""
    for number in range(layers):
        yield f'forward{number}', f'l{number}'
        if both:
            yield f'backward{number}', f'l{number}_reverse'


def twin(torch, model, params):
    """PyTorch's module with our parameters."""
    body = getattr(torch.nn, PEERS[model.cell])(
        3, model.hidden, model.layers, batch_first=True, bidirectional=model.bidirectional
    )
    head = torch.nn.Linear(model.hidden * (1 + model.bidirectional), model.classes)
    tensor = lambda a: torch.tensor(np.asarray(a))
    with torch.no_grad():
        for name, end in names(model.cell, model.layers, model.bidirectional):
            layer = params[name]
            getattr(body, f'weight_ih_{end}').copy_(tensor(layer['inputs']['kernel'].T))
            getattr(body, f'weight_hh_{end}').copy_(tensor(layer['recurrent'].T))
            getattr(body, f'bias_ih_{end}').copy_(tensor(layer['inputs']['bias']))
            bias = getattr(body, f'bias_hh_{end}').zero_()
            if model.cell == 'gru':
                bias[2 * model.hidden :] = tensor(layer['bias'])
        head.weight.copy_(tensor(params['head']['kernel'].T))
        head.bias.copy_(tensor(params['head']['bias']))
    return body, head


def torchs(torch, body, head, x, pool):
    """Logits of rows packed by PyTorch itself."""
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(np.asarray(x)), torch.tensor(LENGTHS), True, False
    )
    outputs, states = body(packed)
    last = states[0] if isinstance(states, tuple) else states
    if pool == 'last':
        return head(torch.cat(list(last[-1 - body.bidirectional :]), -1))
    y = torch.nn.utils.rnn.pad_packed_sequence(outputs, True)[0]
    return head(torch.stack([row[:n].mean(0) for row, n in zip(y, LENGTHS)]))


@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('pool, both, layers', [('last', True, 2), ('mean', False, 1)])
def test_it_is_pytorchs_on_packed_rows(torch, cell, pool, both, layers):
    model = RNN(3, cell, 6, layers, both, pool)
    x = normal(0, 4, 5, 3).at[1, 2:].set(jnp.nan)  # behind a length
    params = random_variables(model, x, LENGTHS)['params']

    @jax.jit
    def run(params):
        def loss(params):
            logits = model.apply({'params': params}, x, LENGTHS)
            return jnp.sum(jnp.sin(logits)), logits

        return jax.grad(loss, has_aux=True)(params)

    gradients, logits = run(params)
    body, head = twin(torch, model, params)
    expected = torchs(torch, body, head, jnp.nan_to_num(x), pool)
    near(logits, expected.detach().numpy())
    torch.sin(expected).sum().backward()
    near(gradients['head']['kernel'], head.weight.grad.numpy().T)
    for name, end in names(cell, layers, both):
        ours = gradients[name]
        theirs = {n: p.grad.numpy() for n, p in body.named_parameters() if n.endswith(f'_{end}')}
        near(ours['inputs']['kernel'], theirs[f'weight_ih_{end}'].T)
        near(ours['inputs']['bias'], theirs[f'bias_ih_{end}'])
        near(ours['recurrent'], theirs[f'weight_hh_{end}'].T)
        if cell == 'gru':
            near(ours['bias'], theirs[f'bias_hh_{end}'][12:])


@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('pool', ['last', 'mean', 'max', 'none'])
def test_a_row_is_what_it_is_alone_at_its_length(cell, pool):
    """Ids behind the length, even impossible ones, and the filled-up time change nothing."""
    model = RNN(3, cell, 4, 1, pool != 'none', pool, vocabulary=9)
    ids = np.random.default_rng(0).integers(0, 9, (4, 5)).astype(np.int32)
    variables = random_variables(model, ids, LENGTHS)
    dirty = np.where(np.arange(5) < LENGTHS[:, None], ids, np.iinfo(np.int32).max)
    together = model.apply(variables, dirty, LENGTHS)
    assert together.dtype == jnp.float32
    for row, length in enumerate(LENGTHS):
        alone = model.apply(variables, ids[row : row + 1, :length])[0]
        near(together[row, :length] if pool == 'none' else together[row], alone, 1e-6)
    assert np.isfinite(model.apply(variables, ids, np.zeros(4, np.int32))).all()


def asked(row: list[int]) -> list[bool]:
    """Word by word, of a question, 3 and a text."""
    end = row.index(3) if 3 in row else len(row)
    return [n > end and i > 3 and i in row[:end] for n, i in enumerate(row)]


@given(st.lists(st.lists(st.integers(0, 8), min_size=7, max_size=7), min_size=1, max_size=4))
def test_a_word_of_the_text_stands_in_the_question_too(rows):
    ids = np.array(rows, np.int32)
    assert sequence.asked(ids).tolist() == [asked(row) for row in rows]
    dirty = np.where(np.arange(7) < 5, ids, rows[0][0] + 2)
    found = sequence.asked(dirty, sequence.real(np.full(len(ids), 5), 7))
    assert found.tolist() == [asked([*row[:5], 0, 0]) for row in rows]


def test_what_is_asked_changes_its_own_vector_alone():
    ids = np.array([[2, 5, 3, 4, 5, 3], [2, 6, 3, 4, 5, 3]], np.int32)
    embed = sequences.Embed(9, 4, asked=True)
    variables = random_variables(embed, ids)
    table, mark = (variables['params'][name] for name in ('embedding', 'asked'))
    near(embed.apply(variables, ids), table[ids].at[0, 4].add(mark))


@pytest.mark.slow
@pytest.mark.parametrize('model', [RNN, TransformerEncoder])
def test_models_read_what_is_asked(model):
    model = model(classes=2, pool='none', vocabulary=9, asked=True)
    ids = np.array([[2, 5, 3, 4, 5, 3]], np.int32)
    params = model.init(jax.random.key(0), ids)['params']
    (path,) = [p for p, _ in jax.tree.leaves_with_path(params) if 'asked' in str(p[-1])]
    loss = lambda params: jnp.sum(jnp.sin(model.apply({'params': params}, ids)))
    gradients = dict(jax.tree.leaves_with_path(jax.grad(loss)(params)))
    assert np.abs(gradients[path]).max() > 1e-4


@pytest.mark.parametrize('cell', CELLS)
def test_decoding_token_by_token_is_the_whole(cell):
    model = RNN(9, cell, 4, 2, pool='none', vocabulary=9)
    ids = np.random.default_rng(0).integers(0, 9, (2, 5)).astype(np.int32)
    variables = random_variables(model, ids)
    cache = model.apply(variables, 2, 5, method='begin')
    for time, logits in enumerate(jnp.swapaxes(model.apply(variables, ids), 0, 1)):
        step, cache = model.apply(variables, cache, ids[:, time], method='decode')
        near(step, logits, 1e-5)
        assert {len(leaf) for leaf in jax.tree.leaves(cache)} == {2}
    for wrong in (RNN(vocabulary=9), RNN(vocabulary=9, pool='none', asked=True)):
        with pytest.raises(UserError, match='one direction and asked=False'):
            wrong.apply(variables, 2, 5, method='begin')


@pytest.mark.parametrize('cell', CELLS)
def test_bfloat16_is_near(cell):
    model = RNN(3, cell, 8, bidirectional=True)
    x = normal(0, 4, 5, 3)
    variables = random_variables(model, x)
    low = model.clone(dtype=jnp.bfloat16).apply(variables, x, LENGTHS)
    assert low.dtype == jnp.float32
    near(low, model.apply(variables, x, LENGTHS), 0.1)


def test_dropout_of_a_shorter_bucket_is_that_of_the_longer():
    model = RNN(3, 'gru', 4, 2, pool='mean', vocabulary=9, dropout=0.5)
    ids = np.random.default_rng(0).integers(0, 9, (3, 8)).astype(np.int32)
    lengths = np.array([2, 5, 3], np.int32)
    variables = random_variables(model, ids)

    @jax.jit
    def dropped(ids, key):
        return model.apply(variables, ids, lengths, True, rngs={'dropout': jax.random.key(key)})

    near(dropped(ids, 1), dropped(ids[:, :5], 1), 1e-6)
    assert np.abs(dropped(ids, 1) - dropped(ids, 2)).max() > 1e-2


def test_an_image_is_read_row_by_row():
    image = normal(0, 2, 5, 4, 3)
    model = RNN(cell='gru', hidden=4)
    variables = random_variables(model, image)
    apply = jax.jit(model.apply)
    near(apply(variables, image), apply(variables, image.reshape(2, 5, 12)), 1e-6)
    sound = jax.eval_shape(model.init_with_output, jax.random.key(0), normal(0, 2, 7))
    assert sound[0].shape == (2, 10)


def test_number_of_parameters():
    def count(*shape, **fields):
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        tree = jax.eval_shape(RNN(hidden=16, **fields).init, jax.random.key(0), x)
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    head = 16 * 10 + 10
    assert count(1, 8, 5) == 4 * 16 * (5 + 16 + 1) + head
    assert count(1, 8, 5, cell='simple') == 16 * (5 + 16 + 1) + head
    gru = 3 * 16 * (5 + 16 + 1) + 16
    assert count(1, 8, 5, cell='gru') == gru + head
    assert count(1, 8, 5, cell='gru', bidirectional=True) == 2 * gru + head + 160


def test_an_lstm_begins_by_remembering_and_gates_begin_as_rotations():
    params = RNN(hidden=4).init(jax.random.key(0), jnp.zeros((1, 2, 3)))['params']['forward0']
    near(params['inputs']['bias'], np.repeat([0, 1, 0, 0], 4), 0)
    for gate in np.split(np.asarray(params['recurrent']), 4, 1):
        near(gate @ gate.T, np.eye(4), 1e-5)


@pytest.mark.parametrize(
    'fields, x, words',
    [
        ({}, np.zeros((2, 3), np.int32), ['int32 [2, 3]', '`vocabulary`']),
        ({'vocabulary': 9}, np.zeros((2, 3), np.float32), ['token ids [N, T]']),
    ],
)
def test_what_it_refuses(fields, x, words):
    with pytest.raises(UserError) as error:
        RNN(**fields).init(jax.random.key(0), x)
    assert all(word in str(error.value) for word in words) and '\n' not in str(error.value)


def test_every_field_has_a_line_of_help():
    assert all(field.doc for field in schema.fields(RNN).values())


def test_the_simple_cell_has_second_derivatives():
    x, w, h = normal(0, 2, 3, 4), normal(1, 4, 4), normal(2, 2, 4)

    def plain(w):
        state, total = h, 0.0
        for t in range(3):
            state = jnp.tanh(x[:, t] + state @ w)
            total += jnp.sum(jnp.sin(state))
        return total

    ours = lambda w: jnp.sum(jnp.sin(recurrent.simple(x, w, h)))
    second = lambda f: jax.grad(lambda w: jnp.sum(jax.grad(f)(w) ** 2))(w)
    near(second(ours), second(plain))


def test_positions_of_packed_rows_start_anew():
    segments = np.array([[1, 1, 2, 2, 2, 0], [1, 2, 3, 3, 0, 0]], np.int32)
    expected = [[0, 1, 0, 1, 2, 0], [0, 0, 0, 1, 0, 1]]
    assert sequence.starts(segments).tolist() == expected
