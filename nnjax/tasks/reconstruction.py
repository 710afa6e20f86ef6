"""Reconstruction: what a model of codes gives back of an example, and what its codes are good for."""

from typing import Literal

import jax
import jax.numpy as jnp

from nnjax.fields import NonNegative, Positive
from nnjax.ops import losses, normalize, shard
from nnjax.tasks.task import Batch, Task, Weighted, with_clean

SHOWN, WALKS, STEPS = 16, 4, 9  # examples, walks between two codes, steps of a walk
SAMPLES = 32


def reconstruction(
    loss: Literal['mse', 'mae', 'huber', 'binary'] = 'mse',
    huber_delta: Positive = 1.0,
    input: str = 'image',
) -> Task:
    """The example itself; the model gives {'reconstruction': like the example, 'code': [B, D]}.

    Where `augment` begins with `keep`, it is the example before augmentation: codes then learn to
    leave out what augmentation changes.

    The loss is the mean over an example's numbers. With 'binary' the model gives logits and the
    example's numbers are in [0, 1].

    Args:
      loss: what is minimised, by its name in nnjax.ops.losses
      huber_delta: error from which the Huber loss is linear
      input: the batch's field that is read and given back
    """
    values_of = jax.nn.sigmoid if loss == 'binary' else lambda x: x

    def loss_values(outputs: dict, batch: Batch) -> Weighted:
        extra = (huber_delta,) if loss == 'huber' else ()
        given, wanted = _flat(outputs['reconstruction']), _flat(with_clean(batch, input)[-1])
        return _each(getattr(losses, loss)(given, wanted, *extra))

    def batch_metrics(outputs: dict, batch: Batch) -> dict[str, Weighted]:
        given = values_of(_flat(outputs['reconstruction']))
        return {'mse': _each(losses.mse(given, _flat(with_clean(batch, input)[-1])))}

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        outputs = apply(batch[input])
        given = values_of(_flat(outputs['reconstruction']))
        return {'code': outputs['code'], 'error': losses.mse(given, _flat(batch[input]))}

    def pictures(apply, batch: Batch) -> dict[str, jax.Array]:
        return gallery(apply, batch[input], values_of)

    return Task(
        lambda batch: (batch[input],), loss_values, batch_metrics, predict, gallery=pictures
    )


def vae(
    likelihood: Literal['bernoulli', 'gaussian'] = 'bernoulli',
    deviation: Positive = 0.1,
    beta: NonNegative = 1.0,
    free_bits: NonNegative = 0.0,
    input: str = 'image',
) -> Task:
    """The evidence lower bound of an example; the model gives what `models.VAE` gives.

    All is in nats for an example. The loss is -E log p(x | code) + beta KL(code's distribution |
    standard normal) (Higgins et al., beta-VAE, 2017); 'elbo' is the bound itself, with beta 1 and no
    free bits. Of grey values in [0, 1] the Bernoulli likelihood is the cross-entropy, which is no
    probability of them; the Gaussian one is a density.

    Args:
      likelihood: of an example's numbers; 'bernoulli' takes the model's reconstruction as logits
      deviation: standard deviation of the Gaussian likelihood
      beta: weight of the divergence in the loss
      free_bits: nats of each number of a code that cost nothing, though none is saved below them, as
        a mean over a batch's examples on all devices; with `accumulate`, as with batch normalisation,
        over those of a microbatch (Kingma et al., Improved variational inference with inverse
        autoregressive flow, 2016)
      input: the batch's field that is read and given back
    """
    values_of = jax.nn.sigmoid if likelihood == 'bernoulli' else lambda x: x

    def terms(outputs: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """-E log p(x | code) [B], the divergence of each number of the code [B, D]."""
        drawn, wanted = outputs['reconstruction'], batch[input]
        drawn = drawn.reshape(*drawn.shape[:2], -1)
        wanted = jnp.broadcast_to(_flat(wanted)[:, None], drawn.shape)
        if likelihood == 'bernoulli':
            each = losses.binary(drawn, wanted)
        else:
            each = losses.gaussian(drawn, jnp.full_like(drawn, deviation), wanted)
        return jnp.mean(each, 1) * drawn.shape[-1], losses.normal_kl(
            outputs['code'], outputs['log_variance']
        )

    def loss_values(outputs: dict, batch: Batch) -> Weighted:
        missing, divergence = terms(outputs, batch)
        mean = normalize.batch_mean(divergence, shard.current().axis, batch['mask'])
        # The mean over rows is max(free_bits, mean), and has that gradient; rows keep their own cost.
        paid = jnp.where((mean > free_bits)[None], divergence, free_bits)
        return _each(missing + beta * jnp.sum(paid, -1))

    def batch_metrics(outputs: dict, batch: Batch) -> dict[str, Weighted]:
        missing, divergence = terms(outputs, batch)
        divergence = jnp.sum(divergence, -1)
        return {'elbo': _each(-missing - divergence), 'kl': _each(divergence)}

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        outputs = apply(batch[input])
        return {'code': outputs['code'], 'elbo': batch_metrics(outputs, batch)['elbo'][0]}

    def draw(apply, keys: jax.Array) -> jax.Array:
        width = apply(method=lambda model: model.code)
        codes = jax.vmap(lambda key: jax.random.normal(key, (width,)))(keys)
        return values_of(apply(codes, method='decode'))

    def pictures(apply, batch: Batch) -> dict[str, jax.Array]:
        samples = draw(apply, jax.random.split(jax.random.key(0), SAMPLES))
        return {**gallery(apply, batch[input], values_of), 'samples': samples}

    return Task(
        lambda batch: (batch[input],),
        loss_values,
        batch_metrics,
        predict,
        gallery=pictures,
        draw=draw,
    )


def gallery(apply, images: jax.Array, values_of) -> dict[str, jax.Array]:
    """Examples, what comes back of them (of their codes' means), and walks between codes."""
    images = images[:SHOWN]
    code = apply(images, method='encode')
    found = {'images': images, 'reconstructions': values_of(apply(code, method='decode'))}
    outputs = apply(images, method='__call__', train=True, rngs={'dropout': jax.random.key(0)})
    if 'seen' in outputs:
        given = outputs['reconstruction']
        found |= {
            'seen': outputs['seen'],
            'restored': values_of(given.reshape(len(images), -1, *images.shape[1:])[:, 0]),
        }
    rows = jnp.arange(WALKS) % len(images)
    ends = code[rows], code[(rows + WALKS) % len(images)]
    share = jnp.linspace(0.0, 1.0, STEPS)[None, :, None]
    path = (1 - share) * ends[0][:, None] + share * ends[1][:, None]
    walk = values_of(apply(path.reshape(-1, path.shape[-1]), method='decode'))
    return {**found, 'walks': walk.reshape(WALKS, STEPS, *images.shape[1:])}


def _each(values: jax.Array) -> Weighted:
    return values, jnp.ones_like(values)


def _flat(x: jax.Array) -> jax.Array:
    """[B, ...] -> float32 [B, M]."""
    return x.reshape(len(x), -1).astype(jnp.float32)
