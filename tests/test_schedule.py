"""Schedules against optax, PyTorch and closed forms; and what holds for all of them."""

import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nnjax.errors import UserError
from nnjax.training import schedule

DECAYS = typing.get_args(schedule.Decay)


def curve(decay, total, *args, steps=None, **kwargs):
    """The multipliers of steps 0 .. total."""
    steps = jnp.arange(total + 1 if steps is None else steps)
    return values(lambda s: schedule.factor(decay, s, total, *args, **kwargs), steps)


def values(function, steps):
    """A schedule's values at every step; optax's needs standard dtype promotion."""
    with jax.numpy_dtype_promotion('standard'):
        return np.asarray(jax.jit(jax.vmap(function))(steps))


def torch_curve(make, steps):
    """The multipliers of a PyTorch scheduler, make(optimizer) with base learning rate 1."""
    torch = pytest.importorskip('torch')
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    return values


@pytest.mark.parametrize('warmup, final', [(0, 0.0), (7, 0.0), (7, 0.1), (40, 0.1)])
def test_cosine_is_optax(warmup, final):
    reference = optax.warmup_cosine_decay_schedule(
        1 / (warmup + 1), 1.0, warmup, 50, end_value=final
    )
    expected = values(reference, jnp.arange(51))
    np.testing.assert_allclose(curve('cosine', 50, warmup, final), expected, atol=1e-6)


@pytest.mark.parametrize('warmup, final', [(0, 0.0), (7, 0.2)])
def test_linear_is_optax(warmup, final):
    reference = optax.join_schedules(
        [
            optax.linear_schedule(1 / (warmup + 1), 1.0, warmup or 1),
            optax.linear_schedule(1.0, final, 50 - warmup),
        ],
        [warmup],
    )
    expected = values(reference, jnp.arange(51))
    np.testing.assert_allclose(curve('linear', 50, warmup, final), expected, atol=1e-6)


def test_warmup_is_pytorch_linear_lr():
    expected = torch_curve(lambda s, o: s.LinearLR(o, start_factor=1 / 6, total_iters=5), 20)
    np.testing.assert_allclose(curve('constant', 20, 5, steps=20), expected, atol=1e-6)


def test_cosine_is_pytorch():
    expected = torch_curve(lambda s, o: s.CosineAnnealingLR(o, T_max=30, eta_min=0.05), 30)
    np.testing.assert_allclose(curve('cosine', 30, 0, 0.05, steps=30), expected, atol=1e-6)


@pytest.mark.parametrize('total', [10, 37, 1000])
def test_step_is_pytorch(total):
    boundaries = (0.3, 0.6, 0.9)
    milestones = [-(-int(10 * b) * total // 10) for b in boundaries]
    expected = torch_curve(lambda s, o: s.MultiStepLR(o, milestones, gamma=0.2), total)
    ours = curve('step', total, boundaries=boundaries, drop=0.2, steps=total)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_step_boundaries_are_exact_in_long_runs():
    total = 3_000_000
    factors = [schedule.factor('step', s, total, boundaries=(0.3,)) for s in (899_990, 900_000)]
    np.testing.assert_allclose(factors, [1.0, 0.1])


@pytest.mark.parametrize('total, peak', [(40, 0.3), (100, 0.45)])
def test_one_cycle_is_optax(total, peak):
    reference = optax.cosine_onecycle_schedule(total, 1.0, peak, 25.0, 1e4)
    expected = values(reference, jnp.arange(total + 1))
    ours = curve('one_cycle', total, 0, 1 / 25e4, peak=peak)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize('total, peak', [(40, 0.3), (101, 0.5)])
def test_one_cycle_is_pytorch(total, peak):
    """PyTorch reaches the minimum with the last update, so its run is one step shorter."""
    expected = torch_curve(
        lambda s, o: s.OneCycleLR(
            o, 1.0, total_steps=total + 1, pct_start=peak, cycle_momentum=False
        ),
        total,
    )
    ours = curve(
        'one_cycle', total, 0, 1 / 25e4, peak=(peak * (total + 1) - 1) / total, steps=total
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize('warmup', [0, 1, 10])
def test_rsqrt_is_the_transformer_schedule(warmup):
    n, w = np.arange(101) + 1.0, warmup + 1.0
    expected = w**0.5 * np.minimum(n**-0.5, n * w**-1.5)  # Vaswani et al. (2017), equation 3
    np.testing.assert_allclose(curve('rsqrt', 100, warmup), expected, rtol=1e-5)
    assert curve('rsqrt', 100, warmup, 0.5)[-1] == 0.5


def test_closed_values():
    assert np.all(curve('constant', 5) == 1)
    np.testing.assert_allclose(curve('linear', 20, 0, 0.2)[5], 0.8)
    np.testing.assert_allclose(curve('step', 20)[19], 0.01, rtol=1e-6)
    np.testing.assert_allclose(curve('one_cycle', 20)[0], 1 / 25, rtol=1e-6)
    for peak in (0.0, 1.0):
        assert np.all(np.isfinite(curve('one_cycle', 20, peak=peak)))


@functools.cache
def compiled(decay):
    """(steps [8], total, warmup, final) -> multipliers [8]."""
    factor = lambda *args: schedule.factor(decay, *args)
    return jax.jit(jax.vmap(factor, in_axes=(0, None, None, None)))


@settings(max_examples=60, deadline=None)
@example(decay='cosine', total=10**6, warmup=0, final=0.0)
@example(decay='one_cycle', total=1, warmup=0, final=0.0)
@example(decay='linear', total=1, warmup=1, final=0.0)
@example(decay='step', total=1, warmup=9, final=0.0)
@given(
    decay=st.sampled_from(DECAYS),
    total=st.integers(1, 10**6),
    warmup=st.integers(0, 2 * 10**6),
    final=st.floats(0, 1, width=32),
)
def test_positive_at_every_update_and_never_above_one(decay, total, warmup, final):
    steps = np.linspace(0, total - 1, 8).astype(np.int32)
    factor = compiled(decay)(steps, *map(np.float32, (total, warmup, final)))
    assert factor.dtype == jnp.float32
    assert np.all((factor > 0) & (factor <= 1 + 1e-6))
    if decay != 'one_cycle':
        assert np.all(factor[steps >= warmup] >= final * (1 - 1e-5))


@pytest.mark.parametrize('decay', DECAYS)
def test_one_trace_for_all_numbers(decay):
    traces = []

    @jax.jit
    def factor(step, total, warmup, final, drop, peak):
        traces.append(1)
        return schedule.factor(decay, step, total, warmup, final, drop=drop, peak=peak)

    for n in range(8):
        numbers = [np.float32(x) for x in (50 + n, n, n / 20, 0.1 + n / 20, 0.2 + n / 20)]
        value = factor(np.int32(10 * n), *numbers)
        if n in (0, 7):
            total, warmup, final, drop, peak = map(float, numbers)
            expected = schedule.factor(decay, 10 * n, total, warmup, final, drop=drop, peak=peak)
            np.testing.assert_allclose(value, expected, atol=1e-6)
    assert len(traces) == 1


def test_unknown_decay():
    with pytest.raises(UserError, match="unknown decay 'cosin'; did you mean 'cosine'"):
        schedule.factor('cosin', 0, 1)
