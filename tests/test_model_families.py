"""VGG, ResNet, GoogLeNet, ViT and DeepCNN: published sizes, PyTorch's numbers, what is refused."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from nnjax import schema, weights
from nnjax.analysis import cost
from nnjax.config import base, bind, override
from nnjax.errors import UserError
from nnjax.models import VGG, CifarResNet, DeepCNN, GoogLeNet, ResNet, ViT, layers
from nnjax.models.resnet import Block
from nnjax.ops.native import library
from nnjax.weights import pytorch


def count(model, *shape):
    variables = jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, 'float32')
    )
    return sum(leaf.size for leaf in jax.tree.leaves(variables['params']))


@pytest.mark.parametrize(
    'model, published',
    [
        (VGG(1000, 11), 132_863_336),
        (VGG(1000, 13), 133_047_848),
        (VGG(1000, 16), 138_357_544),
        (VGG(1000, 19), 143_667_240),
        (VGG(1000, 16, norm='batch'), 138_365_992),
        (ResNet(1000, 18), 11_689_512),
        (ResNet(1000, 34), 21_797_672),
        (ResNet(1000, 50), 25_557_032),
        (ResNet(1000, 101), 44_549_160),
        (CifarResNet(depth=20), 269_722),
        (CifarResNet(depth=20, shortcut='project'), 272_474),
        (CifarResNet(depth=56), 853_018),
        (CifarResNet(depth=110), 1_727_962),
        (GoogLeNet(1000), 13_004_888),
        (GoogLeNet(1000, auxiliary=False), 6_624_904),
        (GoogLeNet(1000, norm='lrn', auxiliary=False), 6_998_552),  # bvlc_googlenet's
        (ViT(1000, 'Ti'), 5_717_416),
        (ViT(1000, 'S'), 22_050_664),
        (ViT(1000, 'B'), 86_567_656),
    ],
    ids=lambda value: weights.describe(value) if isinstance(value, nn.Module) else '',
)
def test_number_of_parameters_is_the_published_one(model, published):
    assert count(model, 1, 224, 224, 3) == published


def test_deep_cnn_by_hand():
    widths = (1, *DeepCNN.channels)
    convolutions = sum(
        9 * a * b + 2 * b for a, b in itertools.pairwise(widths)
    )  # scales and biases
    for side, last in ((28, 1), (32, 2)):
        dense = (last * last * 512 + 1) * 512 + 513 * 10
        assert count(DeepCNN(), 1, side, side, 1) == convolutions + dense


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, its twin made of the module tests.pytorch_models, and an image's shape."""

    model: nn.Module
    twin: Callable
    image: tuple[int, int, int]


def resnet(depth, width, stem, image):
    twin = lambda m: m.ResNet(
        {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth],
        depth >= 50,
        round(64 * width),
        5,
        stem,
        image[2],
    )
    return Case(ResNet(5, depth, width, stem), twin, image)


def vgg(depth, norm, head, image, width=0.06):
    twin = lambda m: m.VGG(depth, norm, width, 5, image[2], head)
    return Case(VGG(5, depth, width, norm, head, dropout=0.0), twin, image)


def googlenet(norm, stem, image, auxiliary=True, width=0.25):
    twin = lambda m: m.GoogLeNet(width, 5, norm, stem, auxiliary, image[2])
    model = GoogLeNet(5, width, stem, norm, auxiliary, 0.0, 0.0)
    return Case(model, twin, image)


def deep_cnn(widths=(8, 8, 12, 12, 16, 16, 20, 20, 20), side=32):
    twin = lambda m: m.DeepCNN(widths, DeepCNN.pools, 24, 5, 3, side)
    return Case(DeepCNN(5, widths, dense=(24,), dropout=0.0), twin, (side, side, 3))


CASES = {
    'vgg11': vgg(11, 'none', 'classic', (64, 48, 3)),
    'vgg13_small': vgg(13, 'none', 'average', (28, 28, 1)),
    'vgg16_bn': vgg(16, 'batch', 'classic', (28, 28, 1)),
    'vgg19_bn': vgg(19, 'batch', 'average', (32, 32, 3)),
    'resnet18': resnet(18, 0.25, 'imagenet', (65, 70, 3)),
    'resnet18_small': resnet(18, 0.125, 'small', (28, 28, 1)),
    'resnet50': resnet(50, 0.125, 'imagenet', (64, 64, 3)),
    'resnet20': Case(
        CifarResNet(5), lambda m: m.ResNet((3, 3, 3), False, 16, 5, 'small', 3, 'pad'), (16, 16, 3)
    ),
    'googlenet': googlenet('batch', 'imagenet', (96, 75, 3)),
    'googlenet_small': googlenet('batch', 'small', (28, 28, 1), auxiliary=False),
    'googlenet_lrn': googlenet('lrn', 'imagenet', (96, 96, 3)),
    'deepcnn': deep_cnn(),
    'vit': Case(ViT(5, 'Ti', 8, 2), lambda m: m.ViT(192, 2, 8, 32, 5), (32, 32, 3)),
}
TRAINED = [name for name in CASES if name not in ('vgg19_bn', 'resnet18_small', 'googlenet_small')]


@pytest.fixture(scope='module')
def twins(torch, tmp_path_factory):
    """name -> (PyTorch module, path of its weights), all numbers random."""
    from tests import pytorch_models

    with pytest.MonkeyPatch.context() as patch:  # a twin named as ours is, but for its leaves
        patch.setitem(pytorch.FAMILIES, DeepCNN, lambda model: ())
        yield _twins(torch, tmp_path_factory.mktemp('weights'), pytorch_models)


def _twins(torch, folder, pytorch_models):
    def make(name):
        torch.manual_seed(0)
        twin = CASES[name].twin(pytorch_models).eval()
        with torch.no_grad():
            for key, tensor in twin.state_dict().items():
                if key.endswith('running_var'):
                    tensor.uniform_(0.5, 2)
                elif tensor.ndim == 1:
                    tensor.add_(0.1 * torch.randn_like(tensor))
                elif key in ('cls_token', 'pos_embed'):
                    tensor.normal_()
        path = folder / f'{name}.safetensors'
        if not path.exists():
            save_file({key: tensor.numpy() for key, tensor in twin.state_dict().items()}, path)
        return twin, path

    return make


def images(case, rows):
    return np.random.default_rng(0).standard_normal((rows, *case.image), np.float32)


def theirs(torch, x):
    return torch.tensor(np.moveaxis(x, -1, 1))


def near(actual, expected, tolerance, name=''):
    """Both arrays within a tolerance of the expected one's largest entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, name
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max(), name


def logits(outputs):
    """Ours or theirs as a list: the logits, then the auxiliary ones."""
    if isinstance(outputs, dict):
        return [outputs['logits'], *outputs['auxiliary']]
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


@pytest.mark.parametrize('name', CASES)
def test_evaluation_is_pytorchs(torch, twins, name):
    case, (twin, path) = CASES[name], twins(name)
    variables = weights.load(path, case.model, case.image)
    x = images(case, 2)
    with torch.no_grad():
        expected = logits(twin(theirs(torch, x)))
    actual = jax.jit(case.model.apply)(variables, x)
    assert actual.dtype == jnp.float32
    near(actual, expected[0], 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', TRAINED)
def test_training_is_pytorchs(torch, twins, name, monkeypatch):
    """Logits, every gradient and the batch's part in the moving averages, in double precision.

    Both: a unit within rounding of 0 is on another side of relu in another program, which in deep
    networks moves PyTorch's own float32 gradients by up to a tenth.
    """
    case, (twin, path) = CASES[name], twins(name)
    model, twin = case.model, twin.double().train()
    variables = jax.tree.map(np.float64, weights.load(path, model, case.image))
    x = images(case, 4).astype(np.float64)

    @functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
    def step(params, statistics):
        def loss(params):
            outputs, updated = model.apply(
                {'params': params, **statistics}, x, train=True, mutable=list(statistics)
            )
            return sum(jnp.sin(y).sum() for y in logits(outputs)), (outputs, updated)

        return jax.grad(loss, has_aux=True)(params)

    params = variables.pop('params')
    monkeypatch.setattr(library, 'load', lambda: library.Library(None, 'turned off'))
    monkeypatch.setattr(jnp, 'float32', jnp.float64)  # of normalisations and logits
    with jax.enable_x64(True):
        gradients, (outputs, updated) = jax.device_get(step(params, variables))
    expected = logits(twin(theirs(torch, x).double()))
    sum(torch.sin(y).sum() for y in expected).backward()
    for ours, other in zip(logits(outputs), expected, strict=True):
        near(ours, other.detach(), 1e-5)
    for place, mean in flatten_dict(updated, sep='/').items():
        if place.endswith('/mean'):  # PyTorch divides the variance by one less than the count
            near(mean, twin.get_buffer(pytorch.name(model, place)), 1e-3, place)
    flat = flatten_dict({'params': gradients}, sep='/')
    flat = {pytorch.name(model, p): pytorch.to_pytorch(p, np.asarray(g)) for p, g in flat.items()}
    true = {n: p.grad.numpy() for n, p in twin.named_parameters()}
    whole = np.sqrt(sum(np.square(g).sum() for g in true.values()))
    errors = {  # a bias before a normalisation has no gradient but rounding
        n: np.linalg.norm(g - true[n]) / (np.linalg.norm(true[n]) + 1e-3 * whole)
        for n, g in flat.items()
    }
    assert max(errors.values()) < 1e-5, max(errors.items(), key=lambda item: item[1])


SMALL = {
    'VGG': VGG(width=0.1, head='average'),
    'ResNet': ResNet(width=0.125, stem='small'),
    'CifarResNet': CifarResNet(depth=20),
    'GoogLeNet': GoogLeNet(width=0.1, stem='small', auxiliary=False),
    'ViT': ViT(patch=7, depth=1),
    'DeepCNN': DeepCNN(channels=(4, 8, 8), pools=(1, 2), dense=(16,)),
}


def variables_of(model, shape):
    """Numbers near those that training starts from, without compiling an initialisation."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, 'float32'))
    rng = np.random.default_rng(0)

    def leaf(path, x):
        if path[-1].key in ('scale', 'var'):
            return jnp.ones(x.shape)
        fan = max(1, np.prod(x.shape[:-1]))
        return jnp.asarray(rng.standard_normal(x.shape, np.float32) / np.float32(np.sqrt(fan)))

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALL)
def test_half_precision_is_for_the_computation(name):
    x = jnp.asarray(np.random.default_rng(1).standard_normal((4, 28, 28, 1), np.float32))
    model = SMALL[name]
    low = model.clone(dtype=jnp.dtype('bfloat16'))
    variables = variables_of(low, x.shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    y, exact = jax.jit(low.apply)(variables, x), jax.jit(model.apply)(variables, x)
    assert y.dtype == exact.dtype == jnp.float32 and y.shape == (4, 10)
    assert 0 < jnp.max(jnp.abs(y - exact)) < 0.1 * jnp.max(jnp.abs(exact))
    assert 'bf16' in str(jax.make_jaxpr(low.apply)(variables, x))


@pytest.mark.parametrize('norm', ['batch', 'layer', 'group', 'none'])
@pytest.mark.parametrize('name', ['VGG', 'ResNet', 'CifarResNet', 'DeepCNN'])
def test_every_norm_fits(name, norm):
    model, x = SMALL[name].clone(norm=norm), jnp.ones((2, 28, 28, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert ('batch_stats' in variables) == (norm == 'batch')
    flat = flatten_dict(variables['params'], sep='/')
    assert any(place.endswith('scale') for place in flat) == (norm != 'none')
    if name != 'VGG':  # torchvision's has biases before its normalisation
        assert any('conv' in place and 'bias' in place for place in flat) == (norm == 'none')
    shape = jax.eval_shape(lambda v, x: model.apply(v, x), variables, x)
    assert shape.shape == (2, 10) and shape.dtype == jnp.float32


@pytest.mark.parametrize('bottleneck', [False, True])
def test_zero_init_is_of_the_last_scale_of_a_block(bottleneck):
    block = Block(4, 1, bottleneck, 'project', 'batch', True, None)

    @jax.jit
    def scales():  # of the rest, the compiler drops what nobody reads
        params = block.init(jax.random.key(0), jnp.ones((1, 4, 4, 3)), False)['params']
        return {name: leaf['scale'] for name, leaf in params.items() if 'scale' in leaf}

    found = {name: set(np.asarray(scale).tolist()) for name, scale in scales().items()}
    last = 'norm3' if bottleneck else 'norm2'
    assert found == {name: {0.0} if name == last else {1.0} for name in found}
    assert len(found) == (4 if bottleneck else 3)


@pytest.mark.parametrize('model', [VGG(depth=11, width=0.1), VGG(width=0.1)])
@pytest.mark.parametrize('side', [1, 3, 28, 32, 40])
def test_vgg_takes_images_of_any_size(model, side):
    shape = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x)[0], jnp.zeros((2, side, side + 1, 1))
    )
    assert shape.shape == (2, 10)


@pytest.mark.parametrize(
    'model, shape, words',
    [
        (VGG(), (28, 28, 1), ['VGG', '[batch, height, width, channels]', '(28, 28, 1)']),
        (ResNet(), (1, 28, 28), ['ResNet', '(1, 28, 28)']),
        (ResNet(), (1, 31, 40, 3), ['31x40', 'one pixel of 32x32', "stem='small'"]),
        (GoogLeNet(), (1, 14, 40, 3), ['14x40', 'inception4a receives 1 pixels', "stem='small'"]),
        (GoogLeNet(stem='small'), (1, 1, 9, 3), ['1x9', 'use larger images']),
        (ViT(), (1, 28, 32, 3), ['28x32', '16x16 pixels', '`patch`']),
        (DeepCNN(), (1, 15, 28, 1), ['15x28', 'the pool after convolution 9 receives 1x3']),
    ],
)
def test_images_that_do_not_fit_are_one_line(model, shape, words):
    with pytest.raises(UserError) as error:
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    assert '\n' not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_smallest_images_fit():
    for model, side in (
        (GoogLeNet(), 15),
        (GoogLeNet(stem='small'), 2),
        (DeepCNN(), 16),
        (ResNet(), 32),
    ):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))


@pytest.mark.parametrize('name', SMALL)
def test_other_images_than_the_parameters_are_for(name):
    model = SMALL[name]
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    apply = lambda *shape: jax.eval_shape(lambda v: model.apply(v, jnp.zeros(shape)), variables)
    with pytest.raises(UserError, match=r'images of 3 channels, but .* for 1'):
        apply(1, 28, 28, 3)
    if name == 'ViT':
        with pytest.raises(UserError, match=r'28x42 images make 24 patches, .* for 16'):
            apply(1, 28, 42, 1)


def test_auxiliary_heads_are_for_training_alone():
    model, x = GoogLeNet(width=0.1, stem='small', classes=7), jnp.zeros((2, 28, 28, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert {'auxiliary1', 'auxiliary2'} < set(variables['params'])
    apply = lambda **how: lambda v: model.apply(v, x, **how)
    keys = {'dropout': jax.random.key(1)}
    outputs, _ = jax.eval_shape(apply(train=True, rngs=keys, mutable=['batch_stats']), variables)
    assert outputs['logits'].shape == (2, 7)
    assert [y.shape for y in outputs['auxiliary']] == [(2, 7), (2, 7)]
    assert jax.eval_shape(apply(), variables).shape == (2, 7)


def test_dropout_is_by_example_and_for_training_alone():
    x = jnp.ones((6, 28, 28, 1))
    for model in (VGG(depth=11, width=0.05), SMALL['ViT'].clone(dropout=0.5)):
        variables = variables_of(model, x.shape)

        @jax.jit
        def train(x, offset=0, model=model, variables=variables):
            with layers.shard(offset=offset):
                return model.apply(variables, x, train=True, rngs={'dropout': jax.random.key(1)})

        noisy = train(x)
        assert len(np.unique(np.asarray(noisy[:, 0]))) > 1
        parts = jnp.concatenate([train(x[:2]), train(x[2:], offset=2)])
        np.testing.assert_allclose(noisy, parts, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('model', [VGG, ResNet, CifarResNet, GoogLeNet, ViT, DeepCNN])
def test_every_field_has_a_line_of_help_and_a_default(model):
    for field in schema.fields(model).values():
        assert field.doc
        schema.fields(model)[field.name].check(field.default, field.name)


def test_depth_is_set_by_flag_and_checked():
    c = base()
    c.model = bind(VGG, depth=11)
    override(c, 'model.depth', '19')
    assert c.model.depth == 19
    for text in ('12', 'eleven'):
        with pytest.raises(UserError, match='one of 11, 13, 16, 19'):
            override(c, 'model.depth', text)


@pytest.mark.parametrize(
    'model, published',
    [
        (ResNet(1000, 18), 1.814e9),
        (ResNet(1000, 34), 3.664e9),
        (ResNet(1000, 50), 4.089e9),
        (VGG(1000, 16), 15.470e9),
        (GoogLeNet(1000), 1.498e9),
    ],
    ids=['resnet18', 'resnet34', 'resnet50', 'vgg16', 'googlenet'],
)
def test_cost_is_the_published_one(model, published):
    """torchvision's table counts products, those with padding too; `nnjax cost` leaves these out
    and counts two operations a product and what is no product."""
    rows = cost.model_table(model, jax.ShapeDtypeStruct((2, 224, 224, 3), 'float32'), train=False)
    products = sum(
        row.parameters * np.prod(row.outputs[0][:-1])
        for row in rows
        if row.kind in ('Conv', 'Dense')
    )
    assert products == pytest.approx(published, rel=2e-3)
    assert 0.92 < sum(row.flops for row in rows) / 2 / published < 1
    assert sum(row.parameters for row in rows) == count(model, 1, 224, 224, 3)
