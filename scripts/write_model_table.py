"""Write docs/models.md and audiotool/models/published.json: a row an architecture, declared and counted.

    python scripts/write_model_table.py [--output docs/models.md] [--missing]

With --missing, which `make docs` passes, multiply-adds are counted only of architectures that the list lacks
or has with other declared facts, and those of the others are kept. Models of other packages have no row.
Parameters, latency and the way of streaming are declared by the models, multiply-adds are counted (`audiotool
models list --cost` shows them), and importers are those of audiotool/importers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from plain_errors import run_script

from audiotool.engines.cost import count_macs
from audiotool.exporting.graph_step import refusal
from audiotool.importers.base import IMPORTERS
from audiotool.model_facts import Facts
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.tasks.base import served_by

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "audiotool" / "models" / "published.json"
HEADER = """# Models

Every architecture at its published configuration; written by `python scripts/write_model_table.py`.

- **G MAC/s**: billions of multiply-accumulates for a second of audio, Fourier transforms not counted.
- **latency**: the algorithmic lag of streamed output behind its input; a model that looks ahead also needs
  its segment. Resampling from and to 44.1 kHz adds 8 ms to a model of 16 kHz, 17 ms to one of 8 kHz and
  3 ms to one of 48 kHz.
- **streams by**: with "state" streamed output equals that of the whole file to 1e-5 of the peak
  (`tests/streaming/test_contract.py`, small untrained networks), and so it does where segments bring their
  exact "context" (each model's test). The iterations of harmonic vocoders amplify rounding: clean speech
  differs by 3e-4 to 1e-3 of the peak in the median, and by 0.4 at worst ([vocoders](vocoders.md)).
  Segments of "overlap-add" are cross-faded, and differ as the model's docstring says.
- **graph**: "yes" where `audiotool models export` writes an ONNX graph of the step
  (`tests/exporting/test_export.py` exports a small network of each); [the reasons](#models-without-a-graph)
  where it does not.
- **official checkpoints**: what `audiotool models import` takes. For all but WaveNet, tests in `tests/models`
  or `tests/importers` with `official` or `parity` in their names compare with stored outputs of the official
  program, most with random small weights, in float32: within 1e-4 of the output's root mean square, unless
  the test states another bound.

"""

COLUMNS = (
    "model",
    "tasks",
    "Hz",
    "parameters",
    "G MAC/s",
    "latency",
    "streams by",
    "graph",
    "official checkpoints",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "models.md")
    parser.add_argument("--missing", action="store_true", help="keep the multiply-adds that are there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = written() if options.missing else {}
    lines, facts = [_line(COLUMNS), _line(["---"] * len(COLUMNS))], []
    refused: dict[str, list[str]] = {}
    for name, model_class in MODELS.builtin().items():
        model = model_class.from_config().eval()
        stated = declared(model)
        key = json.dumps(stated)
        macs = known.get(key) or count_macs(model)
        line = _line(row(name, model, macs))
        if key not in known:
            print(line, flush=True)
        facts.append(stated | {"macs_per_second": macs})
        lines.append(line)
        if reason := refusal(model):
            refused.setdefault(reason, []).append(f"`{name}`")
    rows = ",\n".join(json.dumps(row) for row in facts)
    PUBLISHED.write_text(f"[\n{rows}\n]\n")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(HEADER + "\n".join(lines) + "\n" + without_graph(refused) + official_options())


def written() -> dict[str, float]:
    """Return the multiply-adds for a second of every row of the list that is there, by its declared facts."""
    if not PUBLISHED.is_file():
        return {}
    rows = json.loads(PUBLISHED.read_text())
    counts = [row.pop("macs_per_second") for row in rows]
    return dict(zip(map(json.dumps, rows), counts, strict=True))


def declared(model: Model) -> dict[str, Any]:
    """Return the row of the list without its costs; which tasks are served is found when it is read."""
    facts = Facts.of(model).row()
    del facts["tasks"]
    return {"model": facts.pop("model"), "takes": model.takes, "gives": model.gives, **facts}


def row(name: str, model: Model, macs: float) -> list[str]:
    """Cells of one architecture."""
    streams, bounded = streaming(model)
    latency = f"{1000 * model.latency / model.sample_rate:.0f} ms" if bounded else "unbounded"
    importer = IMPORTERS.builtin().get(name)
    return [
        f"`{name}`",
        ", ".join(served_by(model)),
        str(model.sample_rate),
        f"{model.parameter_count:,}",
        f"{macs / 1e9:.3g}",
        latency,
        streams,
        "yes" if refusal(model) is None else "no",
        "none" if importer is None else importer.origin,
    ]


GRAPHS_HEADER = """
## Models without a graph

"""


def without_graph(refused: Mapping[str, Sequence[str]]) -> str:
    """The table of reasons for which models have no graph."""
    lines = [_line(("reason", "models")), _line(["---"] * 2)]
    lines += [_line((reason, ", ".join(models))) for reason, models in refused.items()]
    return GRAPHS_HEADER + "\n".join(lines) + "\n"


OPTIONS_HEADER = """
## Options of the official configurations

What `audiotool models import` does with each option of a file that comes with official weights. Sizes are
compared with the tensors' shapes, and a file that says other sizes is refused. "refused unless …": the
official program builds another network, or another input, for other values. "unused": without influence on a
trained network's output. An option that the official program does not know and refuses is refused here too.
Vocos for EnCodec decodes the first of its `bandwidths` (1.5 kbit/s); `--set bandwidth_id=3` imports it for
the fourth (12 kbit/s).

"""


def official_options() -> str:
    """The table of what each importer does with each official option."""
    lines = [_line(("model", "section", "option", "here")), _line(["---"] * 4)]
    for name, importer in IMPORTERS.builtin().items():
        for section in importer.options:
            last = "refused" if section.closed else "not read, as in the official program"
            rows = [(", ".join(f"`{key}`" for key in section.taken), "supported")]
            rows += [
                (f"`{key}`", f"refused unless {' or '.join(f'`{v!r}`' for v in allowed)}")
                for key, allowed in section.fixed.items()
            ]
            rows += [(", ".join(f"`{key}`" for key in section.unused), "unused")] if section.unused else []
            for option, here in (*rows, ("any other", last)):
                lines.append(_line((name, section.section, option, here)))
    return OPTIONS_HEADER + "\n".join(lines) + "\n"


def streaming(model: Model) -> tuple[str, bool]:
    """Return how the model streams, and whether its latency is bounded."""
    if model.causal:
        return "state", True
    if model.context is not None:
        return f"context {model.context[0]} + {model.context[1]}", True
    return "overlap-add", False


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run_script(main)
