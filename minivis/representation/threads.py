"""Numerical work of libraries on one thread."""
import functools


def on_one_thread(function):
    """Runs the function with BLAS and OpenMP on one thread: sums then come in one order whatever the machine, and
    small matrices are faster so. The threads of minivis's own kernels are not touched."""
    @functools.wraps(function)
    def limited(*args, **kwargs):
        import sklearn.base  # noqa: F401  loads its OpenMP, which is then there to be limited
        from threadpoolctl import threadpool_limits
        with threadpool_limits(1, "blas"), threadpool_limits(1, "openmp"):
            return function(*args, **kwargs)
    return limited
