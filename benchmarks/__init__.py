"""Our engine against the frameworks on the same cases: time, memory, and whether the answers are right.

    python -m benchmarks list                          the cases and the engines found here
    python -m benchmarks run --cases 'vgg16/*'         measure; writes benchmarks/results/DATE.json
    python -m benchmarks table FILE.json --readme      the table, into README.md
    python -m benchmarks goals                         the goals and whether the newest result meets them

How it measures. Every engine lives in a process of its own, so no thread pool, allocator or library setting of one
disturbs another. All are alive at once and take turns (one computes, the others sleep), so a slow phase of the machine
hits all alike. A fixed computation is timed before and after every round; rounds in which it ran slow are thrown away
and counted. No engine is timed on a case before its answer agreed with float64. Peak memory is measured apart: a fresh
process per engine and case which imports, builds and works, and nothing else.
"""
