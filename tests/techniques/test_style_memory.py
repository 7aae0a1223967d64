"""Print size in little memory: the whole process, not the planner's estimate, stays within the limit."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import json, sys
import numpy as np
import minivis as mv
from minivis.techniques.style import style
side, optimizer, history, steps, memory = json.loads(sys.argv[1])
y, x = np.mgrid[:side, :side]
content = np.stack([x * 255 // side, y * 255 // side, (x ^ y) & 255], -1).astype(np.uint8)
painting = np.where((x // 7 + y // 5)[..., None] % 2, [230, 60, 20], [20, 80, 200]).astype(np.uint8)
net = mv.random_network("vgg19", head=False)
made = style(net, content, styles=[painting], size=side, scales=1, steps=steps, optimizer=optimizer, history=history,
             memory=memory)
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"peak": peak, "notes": made.notes, "loss": made.history["loss"][:, 0].tolist(),
                  "levels": made.values[0, ::64, ::64].tolist()}))
"""


def run(*settings):
    """What a process of its own says: its peak memory, the notes and the course of the loss."""
    done = subprocess.run([sys.executable, "-c", CODE, json.dumps(settings)], cwd=ROOT, check=True, text=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout)


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("optimizer, history, steps", [("adam", 20, 2), ("lbfgs", 2, 4)])   # the history is full
def test_2048_pixels_on_vgg19_within_2_gigabytes(optimizer, history, steps):
    found = run(2048, optimizer, history, steps, "2GB")
    print(f"{optimizer}: peak {found['peak'] / 1e6:.0f} MB")
    assert found["peak"] < 2e9 and any("tiles of" in note for note in found["notes"])
    assert found["loss"][-1] < found["loss"][0]


@needs_proc
@pytest.mark.slow
def test_the_limit_changes_the_memory_and_not_the_picture():
    """At 512 pixels whole and in tiles: less memory is really taken, and the pictures agree."""
    whole, tiled = (run(512, "adam", 20, 3, memory) for memory in ("4GB", "500MB"))
    assert any("tiles of" in note for note in tiled["notes"]) and not whole["notes"]
    assert tiled["peak"] < 0.8 * whole["peak"] and tiled["peak"] < 1.1e9
    apart = np.abs(np.array(whole["levels"]) - tiled["levels"])     # grey levels, after 3 steps of up to 5
    assert np.percentile(apart, 90) < 0.05          # Adam steps as far where the gradient is all rounding as elsewhere
    assert np.allclose(whole["loss"], tiled["loss"], rtol=1e-4)
