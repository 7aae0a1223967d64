"""On a machine with a GPU: everything that can only be known there, in one go, into one dated file.

    python -m tools.gpu_check [--seconds 540] [--stages NAME,...] [--after REPORT.json] [--out FOLDER] [--small]
    python -m tools.gpu_check --list        # the stages, in their order, and how long each may take
    python -m tools.gpu_check --plan        # how to prepare a run on a machine without network; needs no GPU
    python -m tools.gpu_check --wheels FOLDER NAME...       # packages to carry there, in portions
    python -m tools.gpu_check --missing     # what of minivis' requirements this environment lacks
    python -m tools.gpu_check --table       # what is known of each kernel, as a table for README

Stages are ordered by what they are worth, and each has a time limit. A stage is a list of cases run by processes of
their own: a case that fails is written down with its traceback, one that kills its process, hangs, or leaves the GPU
in an error costs that process alone, and the next one goes on behind it. The file is written after every few cases, so
whoever ends the run loses nothing. --after leaves out what passed in an earlier report: a second run after a repair.

A kernel counts as run on a device when all tests that call it passed there. Exit status 1 if anything failed or was
not reached.
"""
from .known import FORM, KERNEL_TESTS, RESULTS, callers, kernel_names, states, table  # noqa: F401
