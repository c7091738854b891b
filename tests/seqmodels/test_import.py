import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_package_is_imported_within_three_seconds_and_without_a_compiler():
    # The processor's time, not the clock's: tests share their machine. No PATH, so nothing can be compiled.
    program = "import time, seqmodels; print(time.process_time())"
    environment = {**os.environ, "PATH": "", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 3
