"""Functions of arrays: jax and numpy only, no layers."""
