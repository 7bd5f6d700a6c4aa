"""The page that a person sees at `/`: which models there are, whether they serve, and what they have done."""

from __future__ import annotations

import html
import time
from typing import Any

_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:56em;margin:2em auto;padding:0 1em;color:#222}" \
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3em .8em .3em 0;" \
    "border-bottom:1px solid #ddd}td.n,th.n{text-align:right}.READY{color:#176f2c}.UNAVAILABLE{color:#b00020}"


def page(app: Any) -> bytes:
    rows = []
    for name, versions in app.models.models.items():
        for number, one in versions.items():
            cells = [html.escape(name), html.escape(number),
                     f'<span class="{one.state}">{one.state.lower()}</span> {html.escape(one.reason)}']
            numbers = ["", "", "", ""]
            if one.lane is not None:
                counts = one.lane.statistics.all()
                done = counts["request_success"]
                mean = 1e3 * counts["request"] / max(1, done + counts["request_failure"])
                rows_each = counts["inferences"] / max(1, counts["executions"])
                numbers = [f"{done:,}", f"{counts['request_failure']:,}", f"{mean:.2f}", f"{rows_each:.1f}"]
                if one.lane.model.alone:
                    cells[2] += f" (not batched: {html.escape(one.lane.model.alone)})"
            rows.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells)
                        + "".join(f'<td class="n">{n}</td>' for n in numbers) + "</tr>")
    state = "ending" if app.draining else "ready" if app.models.ready else "not ready"
    up = int(time.time() - app.started)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>facula serve: {state}</title>
<style>{_STYLE}</style><h1>facula serve: {state}</h1>
<p>Up for {up // 3600} h {up // 60 % 60} min {up % 60} s. <a href="openapi.json">Description</a>,
<a href="metrics">metrics</a>, <a href="v2/models">models</a>.</p>
<table><tr><th>model<th>version<th>state<th class="n">answered<th class="n">failed<th class="n">mean, ms
<th class="n">rows a run</tr>{"".join(rows)}</table></html>""".encode()
