import contextlib, contextvars, flax.linen as nn, jax, jax.numpy as jnp
_o=contextvars.ContextVar('o',default=0)
@contextlib.contextmanager
def shard(offset=0, axis=None):
    t=_o.set(offset)
    try: yield
    finally: _o.reset(t)
class Dropout(nn.Module):
    rate: float
    @nn.compact
    def __call__(s,x,deterministic):
        if deterministic: return x
        key=s.make_rng('dropout')
        keep=jax.vmap(lambda i: jax.random.bernoulli(jax.random.fold_in(key,i),1-float(s.rate),x.shape[1:]))(_o.get()+jnp.arange(x.shape[0]))
        return jnp.where(keep,x*jnp.asarray(1/(1-s.rate),x.dtype),jnp.zeros((),x.dtype))
