"""Interleaved timing: every round times each library at each number of threads, one right after the other.

On a shared, noisy machine two runs minutes apart cannot be compared; neighbours in one process can, and the
median over rounds of their ratio is stable.
"""

import gc
import statistics
import time

BLOCK = 0.02  # seconds that one block of steps should take at least
PAUSE = 0.003  # PyTorch's OpenMP workers spin for a while after their last region, on cores that others need


def time_case(case, libraries, thread_counts, rounds):
    """{(library, threads): [seconds a step, one a round]}."""
    runners, steps = {}, {}
    for name, module in libraries.items():
        module.manual_seed(0)
        prepared = case.make(module)
        runners[name] = prepared if isinstance(prepared, tuple) else (prepared, None)
    gc.collect()
    settings = [(name, threads) for threads in thread_counts for name in libraries]
    times = {setting: [] for setting in settings}
    for name, threads in settings:
        libraries[name].set_num_threads(threads)
        steps[name, threads] = _calibrate(case, *runners[name])
    enabled = gc.isenabled()
    gc.disable()
    try:
        for round_number in range(rounds):
            # The order turns round, so that none always comes after the same neighbour.
            for name, threads in settings if round_number % 2 else settings[::-1]:
                libraries[name].set_num_threads(threads)
                step, finish = runners[name]
                step()  # wakes the workers of this setting
                time.sleep(PAUSE)
                times[name, threads].append(_block(case, step, finish, steps[name, threads]))
            gc.collect(0)
    finally:
        if enabled:
            gc.enable()
    return times


def _block(case, step, finish, count):
    if case.self_timed:
        return statistics.median(step() for _ in range(count))
    start = time.perf_counter()
    for _ in range(count):
        step()
    if finish is not None:
        finish()
    return (time.perf_counter() - start) / count


def _calibrate(case, step, finish):
    """How many steps make a block. The first ones compile, allocate and fill caches, and do not count."""
    for _ in range(8):  # a backward pass is replayed from the third time on
        step()
    if finish is not None:
        finish()
    count = 1
    while True:
        start = time.perf_counter()
        _block(case, step, finish, count)
        took = time.perf_counter() - start
        if took >= BLOCK / 2 or count >= 4096:
            return max(1, min(4096, round(count * BLOCK / max(took, 1e-9))))
        count *= 4


def summarise(times, ours, theirs, thread_counts):
    """Medians in seconds, and ratios ours/theirs: at equal threads, and against their better setting."""
    medians = {setting: statistics.median(values) for setting, values in times.items()}
    row = {f"{name} {threads}": medians[name, threads] for name, threads in times}
    if theirs is None:
        return row
    best = min(thread_counts, key=lambda n: medians[theirs, n])
    row["best threads of torch"] = best
    for threads in thread_counts:
        own = times[ours, threads]
        row[f"ratio {threads}"] = _ratio(own, times[theirs, best])
        row[f"ratio {threads} like with like"] = _ratio(own, times[theirs, threads])
    row["ratio"] = min(row[f"ratio {threads}"] for threads in thread_counts)
    return row


def _ratio(own, other):
    return statistics.median(a / b for a, b in zip(own, other, strict=True))
