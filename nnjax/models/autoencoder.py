"""Autoencoders, plain and variational, dense and convolutional."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count, NonNegative
from nnjax.models import layers

DRAWS = 4  # of a code, for the bound in evaluation


class Encoder(nn.Module):
    """x [N, ...] -> [N, outputs]; fields are those of `Autoencoder`."""

    outputs: int
    hidden: tuple[int, ...]
    channels: tuple[int, ...]
    activation: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        activation = layers.activation(self.activation)
        for channels in self.channels:
            x = activation(layers.Conv(channels, (3, 3), strides=2, dtype=self.dtype)(x))
        x = x.reshape(len(x), -1)
        for width in self.hidden:
            x = activation(layers.Dense(width, dtype=self.dtype)(x))
        return layers.Dense(self.outputs, dtype=self.dtype)(x).astype(jnp.float32)


class Decoder(nn.Module):
    """Codes [N, D] -> [N, *shape], the encoder's layers the other way round."""

    shape: tuple[int, ...]
    hidden: tuple[int, ...]
    channels: tuple[int, ...]
    activation: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        activation = layers.activation(self.activation)
        for width in reversed(self.hidden):
            x = activation(layers.Dense(width, dtype=self.dtype)(x))
        if not self.channels:
            x = layers.Dense(math.prod(self.shape), dtype=self.dtype)(x)
            return x.reshape(len(x), *self.shape).astype(jnp.float32)
        sides = [self.shape[:2]]
        for _ in self.channels:
            sides.append(tuple(-(-side // 2) for side in sides[-1]))
        x = activation(layers.Dense(math.prod(sides[-1]) * self.channels[-1], dtype=self.dtype)(x))
        x = x.reshape(len(x), *sides[-1], self.channels[-1])
        for place, (height, width) in reversed(list(enumerate(sides[:-1]))):
            x = x.repeat(2, 1).repeat(2, 2)[:, :height, :width]
            last = place == 0
            channels = self.shape[-1] if last else self.channels[place - 1]
            x = layers.Conv(channels, (3, 3), dtype=self.dtype)(x)
            x = x if last else activation(x)
        return x.astype(jnp.float32)


class Autoencoder(nn.Module):
    """x [N, *shape] -> {'reconstruction': [N, *shape], 'code': [N, code]}.

    In training the encoder may be given less than what it must reconstruct: with Gaussian noise
    (Vincent et al., Extracting and composing robust features with denoising autoencoders, 2008), or
    without some patches, which are zero; 'seen' is then what it was given. What an example loses is
    a function of the 'dropout' key and of its position in the global batch.

    Attributes:
      shape: of an example.
      code: numbers in a code.
      hidden: widths of the encoder's dense layers; the decoder has them the other way round.
      channels: of convolutions of stride 2 before them; () for none.
      noise: standard deviation of the noise that the encoder sees in training.
      mask: share of the patches that it does not see in training.
      patch: side of a patch, in pixels; of examples that are no images a number each is a patch.
      activation: function after each layer but the last.
      dtype: of the computation; parameters, codes and reconstructions are float32.
    """

    shape: tuple[Count, ...] = (28, 28, 1)
    code: Count = 32
    hidden: tuple[Count, ...] = (256,)
    channels: tuple[Count, ...] = ()
    noise: NonNegative = 0.0
    mask: BelowOne = 0.0
    patch: Count = 1
    activation: layers.Activation = 'relu'
    dtype: Any = None

    outputs_of_code = 1  # numbers that the encoder gives for each of a code's

    def setup(self):
        rest = (self.hidden, self.channels, self.activation, self.dtype)
        self.encoder = Encoder(self.code * self.outputs_of_code, *rest)
        self.decoder = Decoder(self.shape, *rest)

    def __call__(
        self, x: jax.Array, clean: jax.Array | None = None, train: bool = False
    ) -> dict[str, jax.Array]:
        """x [N, *shape]; of what it was before augmentation, if given, 'clean_code' is the code."""
        seen = self.seen(x, train)
        code = self.encode(seen)
        found = {'reconstruction': self.decode(code), 'code': code}
        if clean is not None:
            found['clean_code'] = self.encode(clean)
        return found | ({'seen': seen} if train and (self.noise or self.mask) else {})

    def encode(self, x: jax.Array) -> jax.Array:
        """x [N, *shape] -> codes [N, code]."""
        return self.encoder(self._checked(x))

    def decode(self, code: jax.Array) -> jax.Array:
        """Codes [N, code] -> [N, *shape]."""
        return self.decoder(code)

    def seen(self, x: jax.Array, train: bool) -> jax.Array:
        """x [N, *shape] as the encoder is given it."""
        x = self._checked(x)
        if not train or not (self.noise or self.mask):
            return x
        return jax.vmap(self._damaged)(layers.example_keys(self, len(x)), x)

    def _damaged(self, key: jax.Array, x: jax.Array) -> jax.Array:
        noise_key, mask_key = jax.random.split(key)
        if self.noise:
            x = x + jnp.asarray(self.noise, x.dtype) * jax.random.normal(
                noise_key, x.shape, x.dtype
            )
        if self.mask:
            sides = [-(-side // self.patch) for side in x.shape[:2]] if x.ndim == 3 else x.shape
            kept = jax.random.bernoulli(mask_key, 1 - self.mask, tuple(sides))
            if x.ndim == 3:
                kept = kept.repeat(self.patch, 0).repeat(self.patch, 1)
                kept = kept[: x.shape[0], : x.shape[1], None]
            x = jnp.where(kept, x, jnp.zeros((), x.dtype))
        return x

    def _checked(self, x: jax.Array) -> jax.Array:
        kind = type(self).__name__
        if x.shape[1:] != tuple(self.shape):
            wanted = f'({", ".join(map(str, x.shape[1:]))}{"," if x.ndim == 2 else ""})'
            raise UserError(
                f'{kind} is made for examples {list(self.shape)}, the data has '
                f'{list(x.shape[1:])}: set --config.model.shape="{wanted}"'
            )
        if self.channels and x.ndim != 4:
            raise UserError(f'{kind}: channels are for images, the data has {list(x.shape[1:])}')
        return x


class VAE(Autoencoder):
    """x [N, *shape] -> {'reconstruction': [N, K, *shape], 'code', 'log_variance': [N, code]}.

    A variational autoencoder (Kingma and Welling, Auto-encoding variational Bayes, 2014): 'code' is
    the mean of a code's distribution, 'log_variance' the logarithm of its variance, and the K
    reconstructions are of codes drawn from it. In training one is drawn, by the 'dropout' key and
    the example's position in the global batch; in evaluation four, by the example's own numbers, so
    that the bound is a function of the example alone. Fields are those of `Autoencoder`.
    """

    outputs_of_code = 2

    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        seen = self.seen(x, train)
        mean, log_variance = jnp.split(self.encoder(seen), 2, -1)
        if train:
            draw = lambda key: jax.random.normal(jax.random.fold_in(key, 2), (1, self.code))
            places = jax.vmap(draw)(layers.example_keys(self, len(x)))
        else:
            draw = lambda key: jax.random.normal(key, (DRAWS // 2, self.code))
            half = jax.vmap(draw)(_own_keys(seen))
            places = jnp.concatenate([half, -half], 1)  # so that their mean is the mean
        codes = mean[:, None] + jnp.exp(0.5 * log_variance)[:, None] * places
        drawn = self.decode(codes.reshape(-1, self.code))
        drawn = drawn.reshape(len(x), -1, *self.shape)
        found = {'reconstruction': drawn, 'code': mean, 'log_variance': log_variance}
        return found | ({'seen': seen} if train and (self.noise or self.mask) else {})

    def encode(self, x: jax.Array) -> jax.Array:
        """x [N, *shape] -> the means of their codes [N, code]."""
        return jnp.split(self.encoder(self._checked(x)), 2, -1)[0]


def _own_keys(x: jax.Array) -> jax.Array:
    """x [N, ...] -> a key for each example, a function of its numbers alone."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32).reshape(len(x), -1)
    odd = 2 * jnp.arange(bits.shape[1], dtype=jnp.uint32)[None] + jnp.uint32(2654435761)
    mixed = (bits ^ (bits >> 15)) * odd
    hashes = jnp.sum(mixed ^ (mixed >> 13), 1, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), hashes)
