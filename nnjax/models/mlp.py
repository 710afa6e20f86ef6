import flax.linen as nn, jax.numpy as jnp
from nnjax.models import layers
class MLP(nn.Module):
    """m

    Attributes:
      hidden: sizes
    """
    classes: int = 10
    hidden: tuple[int,...] = (64,)
    dtype: object = None
    dropout: float = 0.0
    @nn.compact
    def __call__(s,x,train=False):
        x=x.reshape(x.shape[0],-1); x=x if s.dtype is None else x.astype(s.dtype)
        for h in s.hidden: x=layers.Dropout(s.dropout)(nn.relu(nn.Dense(h,dtype=s.dtype)(x)), not train)
        return nn.Dense(s.classes,dtype=s.dtype)(x).astype(jnp.float32)
