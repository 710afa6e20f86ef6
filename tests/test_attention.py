"""Attention against jax.nn's, rotation against its law, blocks against PyTorch's layers."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.models.blocks import Block, Places, RMSNorm
from nnjax.ops.attention import attention, rotated

LENGTHS = np.array([5, 2, 3], np.int32)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def random_variables(model, *inputs):
    """Parameters with every entry random, biases included."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [0.3 * normal(n, *leaf.shape) for n, leaf in enumerate(leaves)])


def near(actual, expected, tolerance=1e-4):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def value_and_gradients(function, *arguments):
    def loss(*arguments):
        y = function(*arguments)
        return jnp.sum(jnp.sin(y)), y

    run = jax.jit(jax.grad(loss, tuple(range(len(arguments))), has_aux=True))
    gradients, y = run(*arguments)
    return [y, *gradients]


@pytest.mark.parametrize(
    'groups, causal, lengths, segments', [(4, 0, 0, 0), (2, 1, 1, 0), (4, 0, 0, 1), (1, 1, 1, 1)]
)
def test_attention_is_jaxs_own(monkeypatch, groups, causal, lengths, segments):
    q, k, v = normal(0, 3, 5, 4, 6), normal(1, 3, 5, groups, 6), normal(2, 3, 5, groups, 6)
    lengths = jnp.asarray(LENGTHS) if lengths else None
    segments = jnp.array([[1, 1, 2, 2, 2], [1, 1, 0, 0, 0], [1, 2, 3, 0, 0]]) if segments else None
    ours = lambda q, k, v: attention(q, k, v, lengths, segments, bool(causal))
    found = value_and_gradients(ours, q, k, v)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
    for a, b in zip(found, value_and_gradients(ours, q, k, v), strict=True):
        near(a, b, 1e-5)


def test_a_query_that_sees_no_key_stays_finite():
    q, k, v = normal(0, 1, 2, 1, 4), normal(1, 1, 3, 1, 4), normal(2, 1, 3, 1, 4)
    found = value_and_gradients(lambda *a: attention(*a, jnp.zeros(1, jnp.int32)), q, k, v)
    near(found[0], jnp.broadcast_to(jnp.mean(v, 1, keepdims=True), q.shape), 1e-6)
    assert all(np.isfinite(a).all() for a in found)


def test_scores_of_bfloat16_are_not_rounded():
    """Great scores that are near each other: the softmax sees their difference in float32."""
    q, k, v = (4 * normal(n, 2, 64, 2, 64).astype(jnp.bfloat16) for n in range(3))
    exact = lambda x: np.asarray(x, np.float64)
    scores = np.einsum('bthd,bshd->bhts', exact(q), exact(k)) / 8
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum('bhts,bshd->bthd', weights, exact(v))
    error = np.abs(exact(attention(q, k, v)) - expected).max()
    assert error < 0.2  # 0.8 where they are


def test_without_cudnn_a_gpu_takes_xla(monkeypatch):
    q, k, v = (normal(n, 1, 8, 2, 8).astype(jnp.bfloat16) for n in range(3))
    expected = attention(q, k, v)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    near(attention(q, k, v).astype(jnp.float32), expected.astype(jnp.float32), 0.05)


def test_rotation_depends_on_distance_alone():
    q, k = normal(0, 1, 1, 2, 8), normal(1, 1, 1, 2, 8)
    at = lambda x, place: rotated(x, jnp.full((1, 1), place))
    product = lambda i, j: jnp.sum(at(q, i) * at(k, j), -1)
    near(product(7, 4), product(103, 100), 1e-5)
    near(product(3, 3), jnp.sum(q * k, -1), 1e-5)
    assert jnp.abs(product(7, 4) - product(7, 5)).min() > 1e-3
    complex_ = lambda x: np.asarray(x)[0, 0, :, :4] + 1j * np.asarray(x)[0, 0, :, 4:]
    speeds = 10_000.0 ** (-np.arange(4) / 4)
    near(complex_(at(q, 5)), complex_(q) * np.exp(5j * speeds), 1e-5)


def test_rms_norm_is_pytorchs(torch):
    x = 3 * normal(0, 2, 5, 8)
    model, module = RMSNorm(1e-5), torch.nn.RMSNorm(8, 1e-5)
    scale = normal(1, 8)
    module.weight.data.copy_(torch.tensor(np.asarray(scale)))
    expected = module(torch.tensor(np.asarray(x))).detach().numpy()
    near(model.apply({'params': {'scale': scale}}, x), expected, 1e-5)


def pairs(params, cross):
    """PyTorch's names of a layer's parameters and ours in its layout."""
    attention = params['attention']
    norms = {'norm1': 'norm1', 'norm2': 'norm3', 'norm3': 'norm2'} if cross else {}
    dense = {'linear1': params['dense1'], 'linear2': params['dense2']}
    dense['self_attn.out_proj'] = attention['proj']
    joined = {'self_attn': attention['qkv']}
    if cross:
        memory = params['memory']
        both = jax.tree.map(
            lambda a, b: jnp.concatenate([a, b], -1), memory['query'], memory['key_value']
        )
        joined['multihead_attn'] = both
        dense['multihead_attn.out_proj'] = memory['proj']
    for name, leaf in dense.items():
        yield f'{name}.weight', leaf['kernel'].T
        yield f'{name}.bias', leaf['bias']
    for name, leaf in joined.items():
        yield f'{name}.in_proj_weight', leaf['kernel'].T
        yield f'{name}.in_proj_bias', leaf['bias']
    for name in norms or ('norm1', 'norm2'):
        leaf = params[norms.get(name, name)]
        yield f'{name}.weight', leaf['scale']
        yield f'{name}.bias', leaf['bias']


@pytest.mark.parametrize('cross', [False, True], ids=['encoder', 'decoder'])
@pytest.mark.parametrize('order, activation', [('pre', 'gelu_exact'), ('post', 'relu')])
def test_a_block_is_pytorchs_layer(torch, cross, order, activation):
    model = Block(16, 4, 24, activation, causal=cross, cross=cross, order=order)
    x, memory = normal(0, 3, 5, 16), normal(1, 3, 4, 16) if cross else None
    far = np.array([4, 1, 2], np.int32) if cross else None
    places = Places(jnp.arange(5)[None], LENGTHS)
    call = lambda *inputs: model.init(inputs[0], x, places, False, memory, far)
    params = random_variables(SimpleNamespace(init=call))['params']
    kind = torch.nn.TransformerDecoderLayer if cross else torch.nn.TransformerEncoderLayer
    module = kind(16, 4, 24, 0.0, activation[:4], batch_first=True, norm_first=order == 'pre')
    leaves = dict(module.named_parameters())
    tensor = lambda a: torch.tensor(np.asarray(a))
    with torch.no_grad():
        for name, array in pairs(params, cross):
            leaves.pop(name).copy_(tensor(array))
    assert not leaves

    real = np.arange(5) < LENGTHS[:, None]
    padding = tensor(~real)
    if cross:
        causal = torch.nn.Transformer.generate_square_subsequent_mask(5)
        expected = module(
            tensor(x),
            tensor(memory),
            tgt_mask=causal.isinf(),
            tgt_key_padding_mask=padding,
            memory_key_padding_mask=tensor(np.arange(4) >= far[:, None]),
        )
    else:
        expected = module(tensor(x), src_key_padding_mask=padding)
    torch.sin(expected[tensor(real)]).sum().backward()

    @jax.jit
    def run(params):
        def loss(params):
            y = model.apply({'params': params}, x, places, False, memory, far)
            return jnp.sum(jnp.where(real[..., None], jnp.sin(y), 0)), y

        return jax.grad(loss, has_aux=True)(params)

    gradients, y = run(params)
    near(y[real], expected.detach().numpy()[real])
    theirs = {name: leaf.grad.numpy() for name, leaf in module.named_parameters()}
    for name, array in pairs(gradients, cross):
        near(array, theirs[name])


def test_swiglu_and_grouped_heads_by_hand():
    """A block of one token is a plain function: its attention is its value."""
    model = Block(8, 4, 6, 'swiglu', groups=2, norm='rms')
    x = normal(0, 2, 1, 8)
    params = random_variables(model, x, Places(jnp.zeros((1, 1), jnp.int32)))['params']
    p = jax.tree.map(np.asarray, params)
    norm = lambda x, name: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * p[name]['scale']
    dense = lambda x, part: x @ part['kernel'] + part['bias']
    value = dense(norm(np.asarray(x), 'norm1'), p['attention']['qkv'])[..., 12:]
    value = np.repeat(value.reshape(2, 1, 2, 2), 2, 2).reshape(2, 1, 8)
    y = np.asarray(x) + dense(value, p['attention']['proj'])
    gate, up = np.split(dense(norm(y, 'norm2'), p['dense1']), 2, -1)
    y = y + dense(gate / (1 + np.exp(-gate)) * up, p['dense2'])
    places = Places(jnp.zeros((1, 1), jnp.int32))
    near(jax.jit(model.apply)({'params': params}, x, places), y, 1e-5)
