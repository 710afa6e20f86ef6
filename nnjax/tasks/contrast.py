"""Codes by contrast: near for one example however it is augmented, far for others."""

import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import NonNegative, Positive
from nnjax.ops import losses, pairs
from nnjax.ops.shard import current, everyone, own
from nnjax.tasks.reconstruction import gallery
from nnjax.tasks.task import Batch, Task, Weighted, with_clean


def contrast(
    temperature: Positive = 0.5, reconstruction: NonNegative = 1.0, input: str = 'image'
) -> Task:
    """Codes that tell examples apart without labels; the model gives what `models.Autoencoder` gives.

    `augment` begins with `keep`. Of a batch's codes, of its examples as they are and augmented, each
    is to find the other of its own example: NT-Xent (Chen et al., SimCLR, 2020, equation 1), of the
    cosines of codes themselves. The loss is its mean over an example's two codes + `reconstruction`
    MSE of what the decoder makes of the augmented one's, to the example as it is. A batch's codes
    are those of all devices; with `accumulate`, as with batch normalisation, those of a microbatch.

    In evaluation, where nothing is augmented, the loss is the reconstruction's alone.

    Args:
      temperature: divides cosines before the softmax
      reconstruction: weight of the mean square error of what the decoder gives back
      input: the batch's field that the model reads
    """

    def error(outputs: dict, batch: Batch) -> jax.Array:
        """The mean square error [B]."""
        flat = lambda x: x.reshape(len(x), -1)
        return losses.mse(flat(outputs['reconstruction']), flat(with_clean(batch, input)[-1]))

    def entropy(outputs: dict, batch: Batch) -> jax.Array:
        """NT-Xent [B], over the codes of all devices."""
        real = jnp.tile(batch['mask'] > 0, 2)
        code = jnp.concatenate([outputs['code'], outputs['clean_code']])
        # A padded row may hold NaN, which a product spreads to all rows.
        code = jnp.where(real[:, None], code, 0)
        code *= jax.lax.rsqrt(jnp.sum(jnp.square(code), -1, keepdims=True) + 1e-12)
        cosines = jnp.matmul(code, everyone(code).T, precision='highest')
        example = jnp.tile(own(len(real) // 2), 2)
        masks = pairs.same_and_other(example, everyone(example), own(len(real)), everyone(real))
        values, _ = pairs.contrastive(cosines, *masks, 1 / temperature)
        return jnp.mean(values.reshape(2, -1), 0)

    def loss_values(outputs: dict, batch: Batch) -> Weighted:
        values = reconstruction * error(outputs, batch)
        if current().train and 'clean_code' not in outputs:
            raise UserError(
                'tasks.contrast compares an example with itself as augmented: begin augment with '
                "'keep |', and name what changes it behind"
            )
        if current().train:
            values += entropy(outputs, batch)
        return values, jnp.ones_like(values)

    def metrics(outputs: dict, batch: Batch) -> dict[str, Weighted]:
        values = error(outputs, batch)
        return {'mse': (values, jnp.ones_like(values))}

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        outputs = apply(batch[input])
        return {'code': outputs['code'], 'error': error(outputs, {input: batch[input]})}

    def pictures(apply, batch: Batch) -> dict[str, jax.Array]:
        return gallery(apply, batch[input], lambda x: x)

    return Task(
        lambda batch: with_clean(batch, input), loss_values, metrics, predict, gallery=pictures
    )
