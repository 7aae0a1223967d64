"""`minivis warmup`: compile the kernels now, so that the first picture need not wait for it."""
import time

from ..results.report import Report


def warmup() -> Report:
    """Compile every CPU kernel for this machine and keep the machine code in the cache; later runs only load it."""
    from ..kernels import cpu
    from ..kernels.cpu.compile_cache import cache_folder
    begun = time.perf_counter()
    count = cpu.warmup()
    seconds = round(time.perf_counter() - begun, 2)
    return Report({"kernels": [count], "seconds": [seconds], "kept in": [str(cache_folder())]})
