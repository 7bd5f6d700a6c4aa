"""Is the suite awake? Breaks the engine in fifty ways, one at a time, and sees whether a test fails.

    python tools/mutants.py [--only WORD,...] [--check] [--whole] [--table FILE]

Each mutant is a copy of src/ and tests/ with one change. First the tests that ought to notice run, and with
--whole the rest of the suite if they do not. A mutant is caught if a test fails; what survives is listed, and
the exit status is their number. --check only sees that each pattern stands exactly once where it is said to.
Before all of them the same tests run in a copy with nothing broken: if one fails, the run is void.
The limits of liveness.py are measured by the very functions that use them, so they are broken after that.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 1800  # seconds for the tests of a mutant
# what is broken: (file below src/facula, pattern, what it becomes, tests that ought to notice: test_file or
# test_file::test)
MUTANTS = {
    # liveness, donation, pinning
    "a leaf that is held is donated": (
        "engine/trace/step.py", r'^(liveness.calibrate\(globals\(\), ("_LONE_LEAF").*)', r"\1\nglobals()[\2] += 1",
        "test_cpython::test_an_update_takes_no_memory_over_that_somebody_holds"),
    "memory that is held is donated": (
        "engine/trace/step.py", r'^(liveness.calibrate\(globals\(\), ("_LONE_MEMORY").*)', r"\1\nglobals()[\2] += 2",
        "test_cpython::test_an_update_takes_no_memory_over_that_somebody_holds"),
    "held values count as dead": (
        "engine/trace/work.py", r'^(liveness.calibrate\(globals\(\), ("_LONE_NODE").*)', r"\1\nglobals()[\2] += 1",
        "test_recorder test_autograd::test_accumulation_is_in_place"),
    "pinned memory counts as free": (
        "_tensor/cells.py", r'^(liveness.calibrate\(globals\(\), ("_LONE_MEMORY").*)', r"\1\nglobals()[\2] += 1",
        "test_memory_of_others::test_writes_through_every_door"),
    "an array's owner is not looked at": (
        "_tensor/cells.py", r"owner.base is not None or getrefcount\(owner\) > _LONE_OWNER", "False",
        "test_dlpack test_memory_of_others::test_writes_through_every_door"),
    "what is pinned is read later": (
        "_tensor/reading.py", r"if storage.shared and storage.pinned\(\):\n( +# The other side)",
        r"if False:\n\1", "test_dlpack test_memory_of_others::test_writes_through_every_door"),
    "aliases are forgotten while they live": (
        "_tensor/reading.py", r'^(liveness.calibrate\(globals\(\), ("_LONE_STORAGE").*)', r"\1\nglobals()[\2] += 1",
        "test_cpython::test_aliases_stay_aliases_however_often_they_are_read"),
    "a calibration that fails is believed": (
        "engine/cpython/liveness.py",
        r"namespace\[name\] = limit if exact and by_one else UNKNOWN\n +if not \(exact and by_one\):",
        "namespace[name] = limit\n    if False:", "test_cpython::test_counts_that_do_not_move_by_one_say_nothing"),
    "results of CALLs count as values": (
        "engine/trace/work.py", r"references - used > lists and op is not CALL", "references - used > lists",
        "test_plans_by_structure"),
    "an output takes memory that is still read": (
        "engine/compiler/plan.py", r"n == wanted and last\[b\] < k", "n == wanted and last[b] != k",
        "test_replacing"),
    "an output takes memory of another size": (
        "engine/compiler/plan.py", r"if n == wanted and last\[b\] < k", "if last[b] < k",
        "test_compiler_steps::test_a_donated_leaf_that_is_done_with_holds_a_later_output_of_its_size"),
    "a base is overwritten that is read later": (
        "engine/compiler/plan.py", r"if base is None or last\[base\] != k or", "if base is None or",
        "test_compiler_steps::test_no_overwriting_of_what_is_read_later"),
    "a plan overwrites though its routine may fail": (
        "engine/compiler/pipeline.py", r"if given and any\(", "if False and any(",
        "test_compiler_steps::test_nothing_is_overwritten_where_a_routine_may_fail"),
    "a compilation leaves nodes in circles": (
        "engine/compiler/values.py", r"^( +)(self.done: .*)", r"\1\2\n\1self.done[self] = self",
        "test_cpython::test_a_compilation_leaves_no_node_in_a_circle"),
    # keys of what was seen before
    "a step's key forgets dtypes": (
        "engine/trace/work.py", r"parts \+= \(node.op, node.attrs, node.shape, node.dtype, held\[i\]\)",
        "parts += (node.op, node.attrs, node.shape, held[i])", "test_plans_by_structure"),
    "a step's key forgets attributes": (
        "engine/trace/work.py", r"parts \+= \(node.op, node.attrs, node.shape, node.dtype, held\[i\]\)",
        "parts += (node.op, node.shape, node.dtype, held[i])", "test_plans_by_structure"),
    "a step's key forgets which values are wanted": (
        "engine/trace/work.py", r"parts \+= \(node.op, node.attrs, node.shape, node.dtype, held\[i\]\)",
        "parts += (node.op, node.attrs, node.shape, node.dtype)", "test_plans_by_structure"),
    "the walk in Python forgets who holds a node": (
        "engine/trace/signature.py", r"^           counts, tuple\(map\(len, inputs\)\)",
        "           tuple(map(len, inputs))",
        "test_cpython::test_builtins_are_compared_with_their_twins_once"),
    "donation is no part of the key": (
        "engine/preparing.py", r'\*\(work.leaves.index\(leaf\) for leaf in donated\), "donated"\)', '"donated")',
        "test_plans_by_structure"),
    "machine code is keyed without its imports": (
        "engine/runtime/cpu/jit.py", r"frozenset\(imports.items\(\)\) if imports else None", "None", "test_recorder"),
    "an entry on disk may be another's": (
        "engine/runtime/cpu/object_cache.py", r'hashlib.sha256\(name.encode\(\) \+ b"\\0" \+ payload\)',
        "hashlib.sha256(payload)", "test_runtime_cache"),
    # replay
    "a plan on disk is one of other thresholds": (
        "engine/targets/plans_on_disk.py", r"^    parts \+= \[f\"\{name\}=.*\n", "",
        "test_plans_on_disk::test_another_engine_or_other_thresholds_have_other_names"),
    "a plan on disk is one of other numbers": (
        "engine/targets/plans_on_disk.py", r"return value\.hex\(\)", "return str(round(value))",
        "test_plans_on_disk::test_names_tell_apart_what_plans_do"),
    # steps by their kind
    "a kind has sizes of one": (
        "engine/trace/alike.py", r"sizes\.min\(\) < ANY", "sizes.min() < 0",
        "test_alike::test_a_size_of_one_or_none_is_another_kind"),
    "a kind is its text's length": (
        "engine/trace/alike.py", r"masked\.tobytes\(\) != self\.text", "False",
        "test_alike::test_what_lives_longer_is_another_kind"),
    "strides of a kind are not looked at": (
        "engine/trace/alike.py", r"fixed_of\(values\) != fixed:", "False:", "test_alike"),
    "results of a kind are as large as the first": (
        "engine/trace/alike.py", r"nbytes \*= found\[k\]", "nbytes *= 20",
        "test_alike::test_sizes_that_are_new_are_not_looked_at_node_by_node"),
    "a rule that looked at values is replayed": (
        "engine/trace/replay.py", r"if blind and \[", "if [", "test_replay::test_replayed_as_walked[rule_looks]"),
    "who looks at remembered values says nothing": (
        "engine/realize.py", r"^(def looking.*\n.*\n)    session.looks \+= 1", r"\1    pass",
        "test_replay::test_a_rule_that_asks_for_a_known_range_is_not_replayed"),
    "constants of a replay count by shape": (
        "autograd/survey.py", r"parts.append\(str\(node.scalars\)\)", "pass",
        "test_replay::test_replayed_as_walked[constants_are_viewed]"),
    "hooks do not stop a replay": (
        "autograd/survey.py", r'if not t._rg or t._hooks or "_post_accumulate_grad_hooks" in t.__dict__:',
        "if not t._rg:", "test_replay::test_replayed_as_walked[a_hook_comes]"),
    "0.0 and -0.0 are the same static": (
        "autograd/survey.py", r"value = value, str\(value\)  # 0.0 == -0.0", "pass",
        "test_replay::test_what_a_rule_has_kept_is_told_apart"),
    "a replay keeps what the tape has saved": (
        "autograd/replay.py", r"^( +)step._saved = None", r"\1pass",
        "test_replay::test_replayed_as_walked[walked_twice]"),
    "sums of a replay take the order of the program": (
        "autograd/survey.py", r"^    stack.sort\(key=_seq\).*", "    pass",
        "test_replay::test_replayed_as_walked[order_of_sums]"),
    # recording
    "a loop is seen where turns differ": (
        "engine/recorder.py", r"same\[p\] >= \(p if p == known else 2 \* p\)", "same[p] >= 1", "test_recorder"),
    "what a tape holds counts as a loop": (
        "engine/recorder.py", r"for p in range\(1, n // 3 \+ 1\) if 4 \* \(held.*?\) <= p\]",
        "for p in range(1, n // 3 + 1)]", "test_recorder"),
    "looking is not put off": (
        "engine/recorder.py", r"_put_off\(min\(4 \* n, MOST\)\)", "_put_off(n + 1)", "test_recorder"),
    # loops: masks, tails, ranges, order of sums
    "the tail's mask has one lane too many": (
        "engine/compiler/emit/nest.py", r"icmp sgt \{vector\('i8', lanes\)\} \{every\}",
        "icmp sge {vector('i8', lanes)} {every}", "test_compiler_random::test_every_dtype"),
    "a sum forgets its mask": (
        "engine/compiler/emit/reductions.py",
        r"(        if )e.mask is not None(:\n +best = .*\n)(?! +index)", r"\1False\2",
        "test_compiler_random::test_every_dtype"),
    "a block of a long sum is lost": (
        "engine/compiler/emit/reductions.py", r"fadd \{t\} \{total\}, \{part\}", "fadd {t} {part}, {part}",
        "test_compiler_random::test_every_dtype test_compiler_random::test_long_sums_are_split_and_accurate"),
    "accumulators are combined in another order": (
        "engine/compiler/emit/reductions.py", r"parts\[k\], parts\[half \+ k\]", "parts[2 * k], parts[2 * k + 1]",
        "test_order_of_sums"),
    "lanes are combined in another order": (
        "engine/compiler/emit/reductions.py", r"i32 \{first \+ k\}(.*)", r"i32 {2 * k + (first > 0)}\1",
        "test_order_of_sums"),
    "a gather reads past the last row": (
        "engine/compiler/emit/memory.py", r"e.argument\(value.rows - 1,", "e.argument(value.rows + 63,",
        "test_compiler_steps::test_gathers test_compiler_steps::test_a_wrong_index_reads_the_last_row"),
    "fractions of a tile are left out": (
        "engine/compiler/lower_loops.py", r"return -\(-outer // rows\), rows, 0, 1",
        "return outer // rows, rows, 0, 1",
        "test_compiler_steps::test_every_row_of_many_tiles"),
    "fractions of a tile of whole rows are left out": (
        "engine/compiler/lower_loops.py", r"return -\(-outer // rows\), rows, width, 1",
        "return outer // rows, rows, width, 1", "test_compiler_steps::test_every_element_of_many_tiles"),
    "fractions of a row's tile are left out": (
        "engine/compiler/lower_loops.py", r"across = -\(-width // columns\)", "across = width // columns",
        "test_compiler_steps::test_every_element_of_many_tiles"),
    "fractions of a tile that is read across are left out": (
        "engine/compiler/lower_loops.py", r"return -\(-outer // rows\) \* across", "return outer // rows * across",
        "test_compiler_steps::test_every_element_of_many_tiles"),
    "a product's mask has one lane too many": (
        "engine/compiler/emit/gemm_base.py", r"icmp sgt \{lanes\} \{every\}", "icmp sge {lanes} {every}",
        "test_matmul::test_random_shapes test_matmul::test_vectors"),
    "pieces of a long product overlap": (
        "engine/compiler/matmul.py", r"pieces = -\(-k // step\)", "pieces = k // step",
        "test_matmul::test_long_sums_are_cut"),
    "a region may end one element late": (
        "engine/graph/node.py", r"low >= 0 and high < size", "low >= 0 and high <= size",
        "test_plan_file::test_hostile_files test_verify"),
    "an index may be as large as the size": (
        "ops/index/index_nodes.py", r"if low < least or high >= size:", "if low < least or high > size:",
        "test_index_bounds"),
    "negative indices are not counted from the end": (
        "ops/index/index_nodes.py", r'^_FROM_END = .*', '_FROM_END = Formula("index", _LONG)', "test_index_bounds"),
    "a pending index is not checked": (
        "ops/index/index_nodes.py", r"expect_within\(node, least, size, error, message, dim\)", "pass",
        "test_range_checks"),
    # fusing and memory
    "a reduction is read before it is complete": (
        "engine/compiler/legality.py", r"^( +)if split:$", r"\1if False:",
        "test_fusing"),
    "a dependency through another kernel is missed": (
        "engine/compiler/legality.py", r"if self._cycle\(group, sources\):", "if False:", "test_fusing"),
    "nothing is fused": (
        "engine/compiler/legality.py", r"if len\(group.members\) >= MAX_MEMBERS:", "if group.members:", "test_fusing"),
    # gradients at kinks
    "relu's slope at 0 is 1": (
        "ops/elementwise/activations.py", r"where\(x <= 0, 0, x\)", "where(x < 0, 0, x)",
        "test_nn_layers::test_gradient_at_the_kink_is_torchs"),
    "of two equal values one gets all of max's gradient": (
        "ops/elementwise/derivatives.py", r"where\(a < b, 0.0, where\(F\[\"eq\"\]\(a, b\), 0.5, 1.0\)\)",
        "where(a < b, 0.0, 1.0)", "test_kinks"),
    "abs has a slope at 0": (
        "ops/elementwise/derivatives.py", r'"abs": lambda a, r: \(F\["sign"\]\(a\),\)',
        '"abs": lambda a, r: (where(a >= 0.0, 1.0, -1.0),)', "test_kinks"),
    "equal maxima all get the whole gradient": (
        "ops/reduce/extrema.py", r"return mask\(same, g / count\)", "return mask(same, g)", "test_kinks"),
    "pow's slope at exponent 0 is not a number": (
        "ops/elementwise/derivatives.py", r'where\(F\["eq"\]\(b, 0.0\), 0.0, b \* F\["pow"\]\(a, b - 1.0\)\)',
        'b * F["pow"](a, b - 1.0)', "test_kinks"),
    "a branch not taken poisons the gradient": (
        "ops/elementwise/derivatives.py", r'if seed.fn == "where" and seed.args\[2\] is ZERO:', "if False:",
        "test_kinks"),
    "an infinite gradient poisons the branch not taken": (
        "ops/elementwise/derivatives.py", r'if p.fn == "where":  # a mask', 'if False:  # a mask', "test_kinks"),
}


def broken(name, source):
    """The text of the mutant's file."""
    file, pattern, changed, _ = MUTANTS[name]
    text, times = re.subn(pattern, changed, (source / "src/facula" / file).read_text(), flags=re.M)
    if times != 1:
        raise SystemExit(f"{name}: {pattern} stands {times} times in {file}")
    compile(text, file, "exec")  # else anything would catch it
    return text


def copied(source, folder):
    for part in ("src", "tests", "examples"):
        shutil.copytree(source / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "pyproject.toml", folder)


def paths_of(names, folder):
    """The test files of some mutants, each once."""
    tests = dict.fromkeys(test for name in names for test in MUTANTS[name][3].split())
    files = {path.stem: str(path.relative_to(folder)) for path in (folder / "tests").rglob("test_*.py")}
    if missing := [test for test in tests if test.partition("::")[0] not in files]:
        raise SystemExit(f"no tests {', '.join(missing)}")
    return [f"{files[file]}{mark}{name}" for file, mark, name in (test.partition("::") for test in tests)]


def fails(folder, cache, tests, *more):
    """What failed (the first test with -x) and how, or "" if nothing did. As in `make test` there is no torch. A mutant
    shares no kernels with others: it may write down that a builtin is off."""
    env = {**os.environ, "COLUMNS": "200", "FACULA_TEST_NO_TORCH": "1", "FACULA_CACHE_DIR": str(cache),
           "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder / 'tests/support'}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *more, *tests]
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return f"no end after {LONGEST} s"
    if done.returncode == 0:
        return ""
    failed = ", ".join(re.findall(r"^(?:FAILED|ERROR) (.*)", done.stdout, re.M))
    return failed or done.stdout[-200:] + done.stderr[-200:]


def tried(name, source, whole):
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        copied(source, folder)
        # hard links: an entry is replaced, never written to
        shutil.copytree(source / "kernels", folder / "kernels", copy_function=os.link)
        text = broken(name, folder)
        (folder / "src/facula" / MUTANTS[name][0]).write_text(text)
        paths = paths_of([name], folder)
        return fails(folder, folder / "kernels", paths, "-x") \
            or (fails(folder, folder / "kernels", ["tests"], "-x") if whole else "")


def controlled(names, folder, whole):
    """A copy with nothing broken, of which all mutants are made: what fails there says nothing about a mutant."""
    copied(ROOT, folder)
    caught = fails(folder, folder / "kernels", ["tests"] if whole else paths_of(names, folder))
    if caught:
        raise SystemExit(f"void, as without any mutant there fails {caught}")
    return folder


def written(table, rows):
    """Put rows into a table, in place of older ones of the same mutants."""
    old = dict(re.findall(r"^\| (.+?) \| (.+) \|$", table.read_text(), re.M)) if table.exists() else {}
    old |= {name: f"`{MUTANTS[name][0]}` | {caught}" for name, caught in rows.items()}
    lines = [f"| {name} | {old[name]} |" for name in MUTANTS if name in old]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    table.write_text(f"""# Mutants

Made by `python tools/mutants.py --table bench/results/mutants.md`: what was broken, where, and the first of the
mutant's own tests that failed, with its error. All of them are run by `make test`.
Before them the same tests passed with nothing broken.

{len(lines)} mutants, of which {sum("SURVIVES" in line for line in lines)} survive. The newest rows are of commit
{commit.strip()}, Python {platform.python_version()} on {platform.machine()}.

| mutant | file | noticed by |
|---|---|---|
""" + "\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORD,...")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    names = [name for name in MUTANTS if any(word in name for word in options.only.split(","))]
    for name in names:
        broken(name, ROOT)
    if options.check:
        return
    survivors = 0
    with tempfile.TemporaryDirectory() as where:
        source = controlled(names, Path(where), options.whole)
        print("nothing broken: nothing fails", flush=True)
        for name in names:
            caught = tried(name, source, options.whole)
            print(f"{'caught  ' if caught else 'SURVIVES'} {name}{': ' + caught if caught else ''}", flush=True)
            survivors += not caught
            if options.table:
                flat = re.sub(r"\s+", " ", caught).replace("|", "\\|")[:160]
                written(options.table, {name: flat or "SURVIVES"})
    raise SystemExit(survivors)


if __name__ == "__main__":
    main()
