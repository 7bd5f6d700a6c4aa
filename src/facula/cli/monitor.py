"""`facula monitor DIR`: the page of a folder of runs; figures of servers; event files in and out."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from facula import config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows `facula monitor`."""
    parser.add_argument("folder", nargs="?", default=None, metavar="DIR",
                        help=f"the folder of runs (default: {config.MONITOR_DIR.value})")
    parser.add_argument("--port", type=int, default=6007, help="(default: 6007)")
    parser.add_argument("--host", default="127.0.0.1", help="an address of this machine (default: 127.0.0.1)")
    parser.add_argument("--server", metavar="URL", action="append", default=[],
                        help="also show the figures of a server (its /metrics), as a run in DIR; may be repeated. "
                             f"A token that it wants is in {config.SERVE_TOKEN.name}")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS",
                        help="how often a server is asked (default: 1)")
    parser.add_argument("--read", metavar="EVENTS", help="take TensorBoard's event files below EVENTS in, and end")
    parser.add_argument("--write", metavar="EVENTS", help="write the runs as event files below EVENTS, and end")


def monitor(options: argparse.Namespace) -> int:
    """Do what the command line says; the exit status."""
    folder = options.folder if options.folder is not None else config.MONITOR_DIR.value
    try:
        if options.read or options.write:
            from facula.monitor import exchange
            if options.read:
                for run, left in exchange.read_events(options.read, folder).items():
                    print(f"{run}: read" + "".join(f"; {count} values of {plugin!r} left out"
                                                   for plugin, count in sorted(left.items())))
            if options.write:
                print("written:", *exchange.write_events(folder, options.write))
            return 0
        from facula.monitor.server import serve
        scrapers: list[Any] = []
        try:
            if options.server:  # a run that is ended by SIGTERM is finished, too
                signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
            for url in options.server:
                from facula.monitor import scraping
                scrapers.append(scraping.watched(folder, url, options.every, config.SERVE_TOKEN.value or None))
                scrapers[-1].start()
            serve(folder, options.host, options.port)
        finally:
            for scraper in scrapers:
                scraper.stop()
    except KeyboardInterrupt:
        return 0
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"facula monitor: {error}", file=sys.stderr)
        return 2
    return 0
