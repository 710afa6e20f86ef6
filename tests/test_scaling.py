"""What the scaling benchmark counts is what the step must send."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_collectives_of_a_small_network(root, tmp_path):
    script = root / 'experiments/benchmarks/scaling.py'
    flags = '--recipes=digits_mlp', '--modelled=digits_mlp', '--devices=1,2'
    subprocess.run(
        [sys.executable, script, *flags, f'--json={tmp_path / "figures"}'],
        env={**os.environ, 'PYTHONPATH': str(root)},
        check=True,
        capture_output=True,
    )
    figures = json.loads((tmp_path / 'figures').read_text())
    alone, pmap, _, fsdp = figures['counted']
    assert alone['collectives'] == alone['sent'] == 0
    # The gradients, and a sum and a weight of the loss and each metric.
    assert pmap['collectives'] == 1
    assert 0 <= pmap['all-reduce'] - 4 * pmap['parameters'] <= 4 * 2 * 4
    assert pmap['sent'] == pmap['all-reduce']  # 2 (n - 1) / n for n = 2
    # The parameters that it splits once, the gradients once, and nothing of the batch.
    assert 0.9 < fsdp['all-gather'] / (4 * fsdp['parameters']) <= 1
    assert 0.9 < fsdp['all-reduce'] / pmap['all-reduce'] < 1.1
    assert fsdp['all-to-all'] == fsdp['collective-permute'] == 0
    one, *many = figures['modelled'][:5]
    assert one['efficiency'] == 1
    for row in many:
        assert row['bytes'] == pmap['all-reduce'] and 0 < row['efficiency'] < 1
        n, sending = row['devices'], row['sending']
        assert sending > 2 * (min(n, 8) - 1) / min(n, 8) * row['bytes'] / 450e9
