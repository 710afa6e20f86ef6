"""Optimizers against PyTorch and optax; one trace for all their numbers; decay, groups, errors."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from nnjax import build, duration
from nnjax.config import bind
from nnjax.errors import UserError
from nnjax.training import optim

STEPS = 25
rng = np.random.default_rng(0)
SHAPES = {
    'Dense_0': {'kernel': (4, 3), 'bias': (3,)},
    'LayerNorm_0': {'scale': (3,)},
    'Dense_1': {'kernel': (3, 2)},
}
PARAMS = jax.tree.map(
    lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
    SHAPES,
    is_leaf=lambda x: isinstance(x, tuple),
)
NOISE = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=(STEPS, *p.shape)), jnp.float32), PARAMS)


def gradient(params, noise):
    """That of a noisy quadratic bowl."""
    return jax.tree.map(lambda p, n: p + n, params, noise)


def follow(init, update, params, noise):
    """The parameters after each step, stacked; update(grads, opt_state, params, step)."""

    def one(carry, item):
        params, opt_state = carry
        step, noise = item
        updates, opt_state = update(gradient(params, noise), opt_state, params, step)
        params = optax.apply_updates(params, updates)
        return (params, opt_state), params

    count = len(jax.tree.leaves(noise)[0])
    return jax.lax.scan(one, (params, init(params)), (jnp.arange(count), noise))[1]


def ours(total=STEPS, noise=NOISE, **settings):
    """The trajectory of optim.make(**settings), compiled with its numbers as arguments."""

    def run(numbers):
        optimizer = optim.make(**{**settings, **numbers})
        update = lambda g, s, p, step: optimizer.update(g, s, p, step, jnp.float32(total))
        return follow(optimizer.init, update, PARAMS, noise)

    floats = {n: np.float32(v) for n, v in settings.items() if isinstance(v, float)}
    return jax.jit(run)(floats)


def of_optax(transformation, noise=NOISE):
    """The trajectory of an optax optimizer built from constants."""
    update = lambda g, s, p, step: transformation.update(g, s, p)
    with jax.numpy_dtype_promotion('standard'):
        return jax.jit(lambda: follow(transformation.init, update, PARAMS, noise))()


def of_torch(name, schedule=None, clip=None, **settings):
    """The trajectory of a PyTorch optimizer; biases and norms have no weight decay, as ours."""
    torch = pytest.importorskip('torch')
    leaves, structure = jax.tree.flatten(PARAMS)
    tensors = [torch.tensor(np.asarray(p), requires_grad=True) for p in leaves]
    kernels, others = ([t for t in tensors if (t.ndim == 2) == two] for two in (True, False))
    optimizer = getattr(torch.optim, name)(
        [{'params': kernels}, {'params': others, 'weight_decay': 0.0}], **settings
    )
    scheduler = schedule(torch.optim.lr_scheduler, optimizer) if schedule else None
    noise = [torch.tensor(np.asarray(n)) for n in jax.tree.leaves(NOISE)]
    history = [[] for _ in tensors]
    for step in range(STEPS):
        for tensor, n in zip(tensors, noise):
            tensor.grad = tensor.detach() + n[step]
        if clip:
            torch.nn.utils.clip_grad_norm_(tensors, clip)
        optimizer.step()
        if scheduler:
            scheduler.step()
        for past, tensor in zip(history, tensors):
            past.append(tensor.detach().numpy().copy())
    return jax.tree.unflatten(structure, [np.stack(past) for past in history])


def assert_same(a, b, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol), a, b)


RMSPROP = {'decay': 0.99, 'eps_in_sqrt': False}  # optax: decay 0.9, sqrt(v + eps)
TORCH = [
    ('SGD', {}, 'sgd', {}),
    ('SGD', {'weight_decay': 0.1}, 'sgd', {'weight_decay': 0.1}),
    ('SGD', {'momentum': 0.9}, 'sgd', {'momentum': 0.9}),
    ('SGD', {'momentum': 0.9, 'nesterov': True, 'weight_decay': 0.1},
     'sgd', {'momentum': 0.9, 'nesterov': True, 'weight_decay': 0.1}),
    ('Adam', {}, 'adam', {}),
    ('Adam', {'betas': (0.8, 0.95), 'eps': 1e-3, 'weight_decay': 0.1},
     'adam', {'b1': 0.8, 'b2': 0.95, 'eps': 1e-3, 'weight_decay': 0.1}),
    ('AdamW', {'weight_decay': 0.3}, 'adamw', {'weight_decay': 0.3}),
    ('RMSprop', {}, 'rmsprop', {'options': RMSPROP}),
    ('RMSprop', {'momentum': 0.9, 'weight_decay': 0.1},
     'rmsprop', {'momentum': 0.9, 'weight_decay': 0.1, 'options': RMSPROP}),
    ('RMSprop', {'centered': True, 'eps': 1e-3},
     'rmsprop', {'eps': 1e-3, 'options': {**RMSPROP, 'centered': True}}),
    # optax starts the accumulator at 0.1 and has eps inside the root.
    ('Adagrad', {}, 'adagrad', {'eps': 1e-20, 'options': {'initial_accumulator_value': 0.0}}),
    ('Adamax', {}, 'adamax', {}),
    ('Adadelta', {}, 'adadelta', {}),
]  # fmt: skip


@pytest.mark.parametrize('theirs, their_settings, name, settings', TORCH)
def test_trajectory_is_pytorch(theirs, their_settings, name, settings):
    assert_same(
        ours(name=name, lr=0.05, **settings), of_torch(theirs, lr=0.05, **their_settings), 1e-5
    )


def test_schedule_momentum_and_clip_are_pytorch():
    expected = of_torch(
        'SGD', lambda s, o: s.CosineAnnealingLR(o, STEPS), clip=1.5, lr=0.1, momentum=0.9
    )
    assert_same(ours(name='sgd', lr=0.1, momentum=0.9, decay='cosine', clip=1.5), expected)


def mask(params):
    return jax.tree.map(lambda p: p.ndim == 2, params)


@pytest.mark.parametrize('settings, reference', [
    ({'name': 'lamb'}, optax.lamb(0.1, weight_decay=0.2, mask=mask)),
    ({'name': 'lion', 'b1': 0.8}, optax.lion(0.1, b1=0.8, weight_decay=0.2, mask=mask)),
    ({'name': 'muon', 'options': {'beta': 0.9, 'ns_steps': 3}}, optax.contrib.muon(
        0.1, beta=0.9, ns_steps=3, weight_decay=0.2, weight_decay_mask=mask)),
    ({'name': 'nadamw'}, optax.nadamw(0.1, weight_decay=0.2, mask=mask)),
    ({'name': 'adafactor', 'momentum': 0.5}, optax.adafactor(
        0.1, momentum=0.5, weight_decay_rate=0.2, weight_decay_mask=mask)),
    ({'name': 'novograd'}, optax.chain(
        optax.add_decayed_weights(0.2, mask), optax.novograd(0.1))),
    ({'name': 'prodigy', 'options': {'weight_decay': 0.3}}, optax.chain(
        optax.add_decayed_weights(0.2, mask), optax.contrib.prodigy(0.1, weight_decay=0.3))),
])  # fmt: skip
def test_trajectory_is_optax(settings, reference):
    assert_same(ours(lr=0.1, weight_decay=0.2, **settings), of_optax(reference))


NAMES = sorted(set(optim._aliases()) - set(optim._UNFIT))


@pytest.mark.parametrize('name', NAMES)
def test_one_trace_for_all_numbers(name):
    """Eight settings of every number: one trace, and the updates of optax built from constants."""
    alias = getattr(optax, name, None) or getattr(optax.contrib, name)
    takes = inspect.signature(alias).parameters
    strength = next((n for n in ('weight_decay', 'weight_decay_rate') if n in takes), None)
    own_mask = next((n for n in ('mask', 'weight_decay_mask') if n in takes), None)
    seed = {'seed': 0} if name == 'noisy_sgd' else {}
    params = PARAMS['Dense_0']
    grads = [jax.tree.map(lambda n, step=step: n[step], NOISE['Dense_0']) for step in range(2)]
    traces = []

    def numbers(n):
        fields = {
            'momentum': 0.8 + n / 50,
            'b1': 0.8 + n / 50,
            'b2': 0.9 + n / 100,
            'eps': 1e-4 * (n + 1),
        }
        return 0.01 * (n + 1), 0.05 * n, {f: v for f, v in fields.items() if f in takes}

    @jax.jit
    def updates(lr, weight_decay, given):
        traces.append(name)
        optimizer = optim.make(name, lr, weight_decay=weight_decay, options=seed, **given)
        first, state = optimizer.update(grads[0], optimizer.init(params), params, 0, 10)
        return first, optimizer.update(grads[1], state, params, 1, 10)[0]

    def reference(lr, weight_decay, given):
        if strength and own_mask:
            given |= {strength: weight_decay, own_mask: mask}
            optimizer = alias(lr, **given, **seed)
        else:
            optimizer = optax.chain(
                optax.add_decayed_weights(weight_decay, mask), alias(lr, **given, **seed)
            )
        first, state = optimizer.update(grads[0], optimizer.init(params), params)
        return first, optimizer.update(grads[1], state, params)[0]

    found = [updates(*jax.tree.map(np.float32, numbers(n))) for n in range(8)]
    assert len(traces) == 1
    with jax.numpy_dtype_promotion('standard'):
        expected = jax.jit(lambda: reference(*numbers(5)))()
    assert_same(found[5], expected)


def update(optimizer, grads, step=0, total=10, params=PARAMS):
    """One update from the initial state."""
    one = lambda grads: optimizer.update(grads, optimizer.init(params), params, step, total)[0]
    return jax.jit(one)(grads)


ZEROS = jax.tree.map(jnp.zeros_like, PARAMS)
GRADS = jax.tree.map(lambda n: n[0], NOISE)
PATHS = {'Dense_0/bias', 'Dense_0/kernel', 'Dense_1/kernel', 'LayerNorm_0/scale'}


def moved(updates) -> set[str]:
    """The paths of parameters that an update changes."""
    leaves = jax.tree_util.tree_leaves_with_path(updates)
    return {
        jax.tree_util.keystr(p, simple=True, separator='/') for p, u in leaves if jnp.any(u != 0)
    }


@pytest.mark.parametrize('exclude, decayed', [
    (optim.BIASES_AND_NORMS, {'Dense_0/kernel', 'Dense_1/kernel'}),
    ('', PATHS),
    ('Norm|Dense_1', {'Dense_0/kernel', 'Dense_0/bias'}),
    ('^kernel', PATHS),
])  # fmt: skip
@pytest.mark.parametrize('name', ['sgd', 'adamw'])
def test_weight_decay_skips_what_it_is_told_to(name, exclude, decayed):
    optimizer = optim.make(name, lr=0.5, weight_decay=0.1, decay_exclude=exclude)
    updates = update(optimizer, ZEROS)
    assert moved(updates) == decayed
    kernel = PARAMS['Dense_0']['kernel']
    np.testing.assert_allclose(updates['Dense_0']['kernel'], -0.05 * kernel, rtol=1e-6)


@pytest.mark.parametrize('name', ['sgd', 'adamw'])
def test_weight_decay_of_zero_is_none(name):
    alias = getattr(optax, name)
    plain = alias(0.1, weight_decay=0.0) if name == 'adamw' else alias(0.1)
    assert_same(ours(name=name, lr=0.1, weight_decay=0.0), of_optax(plain), 1e-7)


@pytest.mark.parametrize('limit', [0.5, 100.0])
def test_clip_is_of_the_global_norm(limit):
    updates = update(optim.make('sgd', lr=1.0, clip=limit), GRADS)
    norm = optax.global_norm(GRADS)
    assert_same(updates, jax.tree.map(lambda g: -g * jnp.minimum(1, limit / norm), GRADS))


def test_group_settings_override_and_the_schedule_multiplies():
    groups = {
        'head': optim.group('Dense_1', lr=0.3),
        'norm': optim.group('LayerNorm', weight_decay=0.7),
    }
    settings = dict(momentum=0.9, weight_decay=0.2, decay='linear', decay_exclude='')
    together = ours(name='sgd', lr=0.1, groups=groups, **settings)
    for part, own in {
        'Dense_0': {'lr': 0.1}, 'Dense_1': {'lr': 0.3},
        'LayerNorm_0': {'lr': 0.1, 'weight_decay': 0.7},
    }.items():  # fmt: skip
        alone = ours(name='sgd', **{**settings, **own})
        assert_same(together[part], alone[part])


@pytest.mark.parametrize('name', ['sgd', 'lamb', 'muon'])
def test_groups_without_settings_change_nothing(name):
    groups = {'head': optim.group('Dense_1'), 'bias': optim.group('_0/bias')}
    settings = dict(name=name, lr=0.1, weight_decay=0.1, clip=1.0)
    assert_same(ours(**settings, groups=groups), ours(**settings))


def test_lr_is_the_schedule():
    optimizer = optim.make('sgd', lr=0.4, decay='cosine', warmup='4 steps', final=0.5)
    assert optimizer.lr(0, 20) == pytest.approx(0.4 / 5)
    assert optimizer.lr(4, 20) == pytest.approx(0.4)
    assert optimizer.lr(jnp.int32(20), jnp.float32(20)) == pytest.approx(0.2)
    expected = jax.tree.map(lambda g: -optimizer.lr(2, 20) * g, GRADS)
    assert_same(update(optimizer, GRADS, 2, 20), expected)


def test_lanes_of_a_sweep_are_their_solo_runs():
    def run(lr, b1):
        return follow(
            optim.make('adamw', lr, b1=b1).init,
            lambda g, s, p, step: optim.make('adamw', lr, b1=b1).update(g, s, p, step, 25.0),
            PARAMS,
            NOISE,
        )

    lr, b1 = jnp.float32([0.01, 0.1]), jnp.float32([0.5, 0.9])
    lanes = jax.jit(jax.vmap(run))(lr, b1)
    solo = [ours(name='adamw', lr=float(lr[lane]), b1=float(b1[lane])) for lane in range(2)]
    assert_same(lanes, jax.tree.map(lambda *runs: jnp.stack(runs), *solo), 1e-5)


def test_section_of_a_config():
    """Every number of a section, also of its options and groups, reaches the step as data."""
    c = ConfigDict({'total': '25 steps', 'task': {}})
    c.optim = bind(
        optim.make, name='rmsprop', lr=0.1, warmup='20%', momentum=0.5, options={'decay': 0.8},
        groups={'head': bind(optim.group, match='Dense_1', lr=0.3)},
    )  # fmt: skip
    to_steps = lambda text: duration.steps(text, size=100, batch=10, total=25)
    values = build.hyperparameters(c, to_steps)['optim']
    assert values['warmup'] == 5 and values['options'] == {'decay': np.float32(0.8)}
    assert values['groups'] == {'head': {'lr': np.float32(0.3)}}

    @jax.jit
    def one(values):
        return update(build.open_section(c.optim, values)(values), GRADS, 2, 25)

    direct = optim.make(
        'rmsprop', lr=0.1, warmup=5, momentum=0.5, options={'decay': 0.8},
        groups={'head': optim.group('Dense_1', lr=0.3)},
    )  # fmt: skip
    assert_same(one(values), update(direct, GRADS, 2, 25))


MISTAKES = [
    ({'name': 'adm'}, "unknown optimizer 'adm'; did you mean 'adam'"),
    ({'name': 'apply_updates'}, "unknown optimizer 'apply_updates'"),
    ({'name': 'scale_by_adam'}, "unknown optimizer 'scale_by_adam'; did you mean"),
    ({'name': 'scale_by_madgrad'}, "unknown optimizer 'scale_by_madgrad'"),
    ({'name': '_deprecated_dpsgd'}, 'unknown optimizer'),
    ({'name': 'lbfgs'}, 'loss as a function'),
    ({'name': 'adam', 'momentum': 0.9}, r"'adam' takes no 'momentum'.*b1, b2, eps, nesterov"),
    ({'name': 'sgd', 'b1': 0.9}, r"'sgd' takes no 'b1' \(fields: momentum, nesterov; options: accum"),
    ({'name': 'lion', 'nesterov': True}, "'lion' takes no 'nesterov'"),
    ({'name': 'sgd', 'nesterov': True}, 'needs momentum'),
    ({'name': 'rmsprop', 'options': {'deca': 0.9}}, "takes no option 'deca'; did you mean 'decay'"),
    ({'name': 'adam', 'options': {'b1': 0.9}}, r"takes no option 'b1'.*fields: b1"),
    ({'name': 'adam', 'options': {'learning_rate': 0.9}}, "no option 'learning_rate'"),
    ({'name': 'adamw', 'options': {'weight_decay': 0.9}}, "no option 'weight_decay'"),
    ({'name': 'lion', 'options': {'mu_dtype': 'float33'}}, "optimizer 'lion': .*float33"),
    ({'name': 'muon', 'options': {'ns_coeffs': 'dino'}}, "optimizer 'muon': .*dino"),
    ({'decay_exclude': '('}, "decay_exclude='\(' is no regular expression"),
    ({'groups': {'head': {'match': 'x'}}}, r"groups\['head'\].*expected bind\(optim.group"),
    ({'warmup': '5%'}, 'outside a config'),
    ({'groups': {'head': optim.group('Dens_1')}},
     "group 'head': no parameter that trains matches 'Dens_1' .nearest: Dense_1/kernel"),
    ({'groups': {'a': optim.group('Dense'), 'b': optim.group('bias')}},
     "groups 'a' .'Dense'. and 'b' .'bias'. both match 'Dense_0/bias'; a"),
]  # fmt: skip


@pytest.mark.parametrize('settings, message', MISTAKES)
def test_mistakes_are_refused_in_one_line(settings, message):
    with pytest.raises(UserError, match=message) as error:
        jax.eval_shape(optim.make(**settings).init, PARAMS)
    assert '\n' not in str(error.value)


def test_a_group_of_no_regular_expression_is_refused():
    with pytest.raises(UserError, match="match='\\(' is no regular expression"):
        optim.group('(')
