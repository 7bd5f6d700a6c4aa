"""The command line of `torchrun`: its options by its names, with - or _, and by variables PET_..."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any


def parser() -> argparse.ArgumentParser:
    """What is understood."""
    found = argparse.ArgumentParser(
        prog="facula launch", description="Start a program as several ranks (torchrun's options). `import torch` is "
        "Facula in each.", allow_abbrev=False)

    def add(name: str, *others: str, **how: Any) -> None:
        names = list(dict.fromkeys([f"--{name}", f"--{name.replace('-', '_')}", *others]))
        variable = "PET_" + name.upper().replace("-", "_")
        if variable in os.environ:
            if how.get("action") == "store_true":
                how["default"] = os.environ[variable] == "1"
            else:
                how["default"] = how.get("type", str)(os.environ[variable])
        found.add_argument(*names, **how)
    add("nnodes", default="1:1", help="nodes, or MIN:MAX")
    add("nproc-per-node", default="1", help="processes a node: a number, or auto, cpu, gpu (the number of processors)")
    add("rdzv-backend", default="static", help="static or c10d")
    add("rdzv-endpoint", default="", help="host:port of the store")
    add("rdzv-id", default="none", help="the job's name, the same on all nodes")
    add("rdzv-conf", default="", help="k=v,...: timeout, join_timeout, last_call_timeout, is_host")
    add("standalone", action="store_true", help="one node, its store on any free port")
    add("max-restarts", type=int, default=0, help="how often all workers are started anew after a failure")
    add("monitor-interval", type=float, default=0.1, help="seconds between looks at the workers")
    add("start-method", default="spawn", choices=["spawn", "fork", "forkserver"], help="accepted: workers are programs")
    add("role", default="default", help="a name for the workers")
    add("module", "-m", action="store_true", help="the program is a module's name")
    add("no-python", action="store_true", help="the program is started itself, without Python")
    add("run-path", action="store_true", help="accepted: programs are run as `facula run` does")
    add("log-dir", default=None, help="where logs go")
    add("redirects", "-r", default="0", help="streams that go into files: 0 none, 1 stdout, 2 stderr, 3 both; 0:1,1:3")
    add("tee", "-t", default="0", help="streams that go into files and on the console too")
    add("local-ranks-filter", default="", help="local ranks whose output the console shows, with --tee")
    add("node-rank", type=int, default=0, help="which node this is (static)")
    add("master-addr", default="127.0.0.1", help="the address of node 0 (static)")
    add("master-port", type=int, default=29500, help="its port (static)")
    add("local-addr", default=None, help=argparse.SUPPRESS)
    add("logs-specs", default=None, help=argparse.SUPPRESS)
    add("event-log-handler", default="null", help=argparse.SUPPRESS)
    add("numa-binding", default=None, help=argparse.SUPPRESS)
    add("signals-to-handle", default="SIGTERM,SIGINT,SIGHUP,SIGQUIT", help="signals that end the workers too")
    add("grace", type=float, default=15.0, help="seconds between SIGTERM and SIGKILL (Facula's own)")
    found.add_argument("training_script", metavar="script.py", help="the program")
    found.add_argument("training_script_args", nargs=argparse.REMAINDER, metavar="args", help="for the program")
    return found


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line; ends the program where they make no sense."""
    reader = parser()
    options = reader.parse_args(arguments)
    try:
        low, _, high = options.nnodes.partition(":")
        options.min_nodes, options.max_nodes = int(low), int(high or low)
        options.workers = _workers(options.nproc_per_node)
        pairs = [pair.strip() for pair in options.rdzv_conf.split(",") if pair.strip()]
        options.configuration = dict(pair.split("=", 1) for pair in pairs)
        options.console = {int(k) for k in options.local_ranks_filter.split(",") if k.strip()}
        for name in ("redirects", "tee"):
            setattr(options, f"{name}_of", streams(getattr(options, name), options.workers))
    except ValueError as error:
        reader.error(str(error))
    if not 1 <= options.min_nodes <= options.max_nodes:
        reader.error(f"--nnodes {options.nnodes}: at least 1, and MIN no more than MAX")
    if options.logs_specs is not None or options.numa_binding is not None:
        reader.error("--logs-specs and --numa-binding are not in Facula")
    if options.local_addr is not None:
        reader.error("--local-addr is not in Facula: nodes ask their routes for it, and GLOO_SOCKET_IFNAME names "
                     "another interface")
    if options.rdzv_backend not in ("static", "c10d"):
        reader.error(f"--rdzv-backend {options.rdzv_backend} is not in Facula; there are static and c10d")
    if options.rdzv_backend == "static" and options.min_nodes != options.max_nodes:
        reader.error("--nnodes MIN:MAX needs --rdzv-backend c10d")
    if options.no_python and options.module:
        reader.error("Don't use both the '--no-python' flag and the '--module' flag at the same time.")
    return options


def _workers(text: str) -> int:
    if text in ("auto", "cpu", "gpu"):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        found = int(text)
    except ValueError:
        raise ValueError(f"Unsupported nproc_per_node value: {text}") from None
    if found < 1:
        raise ValueError(f"--nproc-per-node {text}: at least 1")
    return found


def streams(text: str, workers: int) -> list[int]:
    """For each worker which streams are meant: bit 0 stdout, bit 1 stderr. Of "3" or "0:1,1:2".

    Example:
        >>> from facula.distributed.launcher.options import streams
        >>> streams("3", 2), streams("1:2", 3)
        ([3, 3], [0, 2, 0])
    """
    if ":" not in text:
        value = int(text)
        found = [value] * workers
    else:
        found = [0] * workers
        for pair in text.split(","):
            rank, _, value_text = pair.partition(":")
            if not 0 <= int(rank) < workers:
                raise ValueError(f"{text!r}: there is no local rank {rank}")
            found[int(rank)] = int(value_text)
    if any(not 0 <= value <= 3 for value in found):
        raise ValueError(f"{text!r}: streams are 0, 1, 2 or 3")
    return found
