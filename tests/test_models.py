"""Models against PyTorch modules written from their description, and their sizes in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax import schema
from nnjax.errors import UserError
from nnjax.models import CNN, MLP, layers


def normal(*shape):
    """NumPy's, to compile nothing."""
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


def random_variables(model, x):
    """Parameters with every entry random, biases included."""
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: 0.1 * normal(*leaf.shape).astype(leaf.dtype), variables)


def count(model, *shape):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def assert_same_as_pytorch(torch, model, module, x):
    """Logits and every gradient of model and module, whose layers come in the same order."""
    variables = random_variables(model, x)
    params = variables['params']
    with torch.no_grad():
        layers_ = [m for m in module.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
        # CNN adds the bias of a convolution after the pool, as a module of its own
        kinds = {torch.nn.Linear: ('Dense', 'Dense'), torch.nn.Conv2d: ('Conv', 'Bias')}
        numbers = {'Dense': 0, 'Conv': 0}
        names = []
        for layer in layers_:
            stem, bias = kinds[type(layer)]
            names.append((f'{stem}_{numbers[stem]}', f'{bias}_{numbers[stem]}'))
            numbers[stem] += 1
            kernel = np.asarray(params[names[-1][0]]['kernel'])
            layer.weight.copy_(torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1))))
            layer.bias.copy_(torch.tensor(np.asarray(params[names[-1][1]]['bias'])))
    assert {name for pair in names for name in pair} == set(params)

    @jax.jit
    def both(params):
        def loss(params):
            logits = model.apply({'params': params}, x)
            return jnp.sum(jnp.sin(logits)), logits

        gradients, logits = jax.grad(loss, has_aux=True)(params)
        return logits, gradients

    logits, gradients = both(params)
    expected = module(torch.tensor(np.asarray(x)))
    torch.sin(expected).sum().backward()
    near = dict(rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, expected.detach().numpy(), **near)
    for (name, bias), layer in zip(names, layers_):
        kernel = np.moveaxis(layer.weight.grad.numpy(), (0, 1), (-1, -2))
        np.testing.assert_allclose(gradients[name]['kernel'], kernel, **near)
        np.testing.assert_allclose(gradients[bias]['bias'], layer.bias.grad.numpy(), **near)


def test_mlp_is_pytorchs(torch):
    module = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(36, 16),
        torch.nn.Tanh(),
        torch.nn.Linear(16, 8),
        torch.nn.Tanh(),
        torch.nn.Linear(8, 5),
    )
    x = normal(7, 6, 6, 1)
    assert_same_as_pytorch(torch, MLP(classes=5, hidden=(16, 8), activation='tanh'), module, x)


def test_cnn_is_pytorchs(torch):
    class Reference(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList(
                torch.nn.Conv2d(a, b, 3) for a, b in ((1, 32), (32, 64), (64, 128))
            )
            self.hidden = torch.nn.Linear(128, 128)
            self.head = torch.nn.Linear(128, 10)

        def forward(self, x):
            x = x.permute(0, 3, 1, 2)
            for convolution in self.blocks:
                x = torch.nn.functional.max_pool2d(torch.relu(convolution(x)), 2)
            return self.head(torch.relu(self.hidden(x.permute(0, 2, 3, 1).flatten(1))))

    x = normal(4, 28, 28, 1)
    assert_same_as_pytorch(torch, CNN(), Reference(), x)


def test_number_of_parameters():
    assert count(MLP(), 1, 28, 28, 1) == 50_890
    assert count(MLP(), 1, 8, 8, 1) == 4_810
    assert count(MLP(hidden=()), 1, 8, 8, 1) == 65 * 10
    convolutions = sum((9 * a + 1) * b for a, b in ((1, 32), (32, 64), (64, 128)))
    assert count(CNN(), 1, 28, 28, 1) == convolutions + (128 + 1) * 128 + (128 + 1) * 10
    same = CNN(channels=(4, 8), kernel=5, padding='SAME', dense=(), classes=3)
    assert count(same, 1, 8, 8, 2) == (25 * 2 + 1) * 4 + (25 * 4 + 1) * 8 + (2 * 2 * 8 + 1) * 3


@pytest.mark.parametrize('model', [MLP(), CNN(channels=(4, 8), dense=(16,))])
def test_precision(model):
    """bfloat16 is for the computation: parameters and logits stay float32, numbers stay near."""
    x = normal(4, 12, 12, 1)
    low = model.clone(dtype=jnp.dtype('bfloat16'))
    variables = random_variables(low, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    logits, exact = jax.jit(low.apply)(variables, x), jax.jit(model.apply)(variables, x)
    assert logits.dtype == exact.dtype == jnp.float32
    assert 'bf16' in str(jax.make_jaxpr(low.apply)(variables, x))
    assert 0 < jnp.max(jnp.abs(logits - exact)) < 0.05 * jnp.max(jnp.abs(exact))


@pytest.mark.parametrize('model', [MLP(dropout=0.5), CNN(channels=(4,), dense=(16,), dropout=0.5)])
def test_dropout_only_in_training_and_by_example(model):
    x = jnp.ones((6, 8, 8, 1))
    variables = random_variables(model, x)

    @jax.jit
    def train(x, offset=0):
        with layers.shard(offset=offset):
            return model.apply(variables, x, train=True, rngs={'dropout': jax.random.key(1)})

    quiet, noisy = jax.jit(model.apply)(variables, x), train(x)
    np.testing.assert_allclose(quiet, jnp.broadcast_to(quiet[:1], quiet.shape), rtol=1e-5)
    assert len(np.unique(np.asarray(noisy[:, 0]))) > 1
    parts = jnp.concatenate([train(x[:2]), train(x[2:], offset=2)])
    np.testing.assert_allclose(noisy, parts, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'fields, shape, words',
    [
        ({}, (1, 8, 8, 1), ['8x8', 'convolution 2 of 3', '64 channels', '1x1']),
        ({}, (1, 2, 28, 1), ['2x28', 'convolution 1 of 3', '0x26']),
        ({'padding': 'SAME'}, (1, 4, 4, 1), ['4x4', 'convolution 3 of 3']),
        ({}, (1, 28, 28), ['[batch, height, width, channels]', '(1, 28, 28)']),
    ],
)
def test_cnn_refuses_images_it_cannot_take(fields, shape, words):
    with pytest.raises(UserError) as error:
        jax.jit(CNN(**fields).init)(jax.random.key(0), jnp.zeros(shape))
    assert '\n' not in str(error.value)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize('model', [MLP, CNN])
def test_every_field_has_a_line_of_help_and_a_default(model):
    for field in schema.fields(model).values():
        assert field.doc
        schema.fields(model)[field.name].check(field.default, field.name)
