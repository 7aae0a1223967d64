"""How much memory and time the conversion of a full-size VGG-16 takes, parent and child together.

    python tools/measure_conversion.py FOLDER       needs torch, 2 GB of disk, Linux

Writes random VGG-16 weights (553 MB) as Keras and PyTorch publish them (HDF5 of 2016, stream of 2017, zip) and as
safetensors, converts each in a process of its own and watches the resident memory of it and its children. Resident
memory counts mapped pages of the file, which the system may take back at any time, so this is the upper end. Prints a
table and exits with 1 where more than 1.5 times the file was needed.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

LIMIT = 1.5
RUN = ("import json, sys; from minivis.checkpoints.convert import convert\n"
       "seen = []\n"
       "summary = convert(sys.argv[1], sys.argv[2], progress=lambda done, total: seen.append(done))\n"
       "print(json.dumps({'parameters': summary['parameters'], 'steps': len(seen)}))")


def write_files(folder):
    """{form: path} of the same random weights."""
    import h5py
    import torch
    from safetensors.torch import save_file
    sizes = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)      # 0: pooling
    state, index, channels = {}, 0, 3
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        if size:
            state[f"features.{index}.weight"] = torch.randn(size, channels, 3, 3, generator=generator)
            state[f"features.{index}.bias"] = torch.zeros(size)
            channels = size
        index += 2 if size else 1
    for number, (outputs, inputs) in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        state[f"classifier.{number}.weight"] = torch.randn(outputs, inputs, generator=generator)
        state[f"classifier.{number}.bias"] = torch.zeros(outputs)
    paths = {form: folder / name for form, name in {
        "PyTorch, stream of 2017": "stream.pth", "PyTorch, zip": "zip.pth", "safetensors": "vgg16.safetensors",
        "Keras, HDF5 of 2016": "keras.h5"}.items()}
    torch.save(state, paths["PyTorch, stream of 2017"], _use_new_zipfile_serialization=False)
    torch.save(state, paths["PyTorch, zip"])
    save_file(state, paths["safetensors"])
    names = [f"block{b}_conv{i}" for b, depth in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, depth + 1)]
    with h5py.File(paths["Keras, HDF5 of 2016"], "w") as file:
        for name, key in zip([*names, "fc1", "fc2", "predictions"], [k[:-7] for k in state if k.endswith("weight")]):
            weight = state[f"{key}.weight"].numpy()
            weight = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
            file.create_dataset(f"{name}/{name}_W_1:0", data=np.ascontiguousarray(weight))
            file.create_dataset(f"{name}/{name}_b_1:0", data=state[f"{key}.bias"].numpy())
    return paths


def resident(pid):
    """Bytes in memory of a process and its children."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass                    # the process has just ended
    return total


def measure(source, target):
    root = str(Path(__file__).resolve().parents[1])
    begin, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-c", RUN, str(source), str(target)], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": root})
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.005)
    answer = process.stdout.read()
    if process.returncode:
        sys.exit(f"{source}: the conversion failed")
    return peak, time.monotonic() - begin, json.loads(answer)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    worst = 0.0
    print(f"{'form':<26}{'file MB':>9}{'peak MB':>9}{'ratio':>7}{'seconds':>9}{'progress steps':>16}")
    for form, path in write_files(folder).items():
        peak, seconds, answer = measure(path, folder / "out.h5")
        size = path.stat().st_size
        worst = max(worst, peak / size)
        print(f"{form:<26}{size / 1e6:>9.1f}{peak / 1e6:>9.1f}{peak / size:>7.2f}{seconds:>9.1f}{answer['steps']:>16}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
