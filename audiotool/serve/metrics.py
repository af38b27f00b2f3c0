"""Counters of the server in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

import time

from audiotool.serve.service import Service


def metrics_text(service: Service) -> str:
    """Return the counters of a service in the text format of Prometheus."""
    counters = service.counters
    rows = [
        ("streams", "gauge", "Streams now.", len(service.calls)),
        ("places_taken", "gauge", "Places that streams take, one a channel.", service.places_taken),
        ("capacity", "gauge", "Places for streams.", service.capacity),
        ("streams_total", "counter", "Streams that began.", counters.streams),
        ("refused_total", "counter", "Streams and files without a place.", counters.refused),
        ("failed_total", "counter", "Streams and files ended by an error or a limit.", counters.failed),
        ("files_total", "counter", "Files processed.", counters.files),
        ("audio_seconds_total", "counter", "Audio received by streams.", round(counters.audio_seconds, 3)),
        ("rounds_total", "counter", "Rounds of steps.", counters.rounds),
        ("round_seconds_total", "counter", "Duration of all rounds.", round(counters.round_seconds, 6)),
        ("round_seconds_max", "gauge", "Duration of the longest.", round(counters.longest_round_seconds, 6)),
    ]
    named = [(f"audiotool_{name}", *rest) for name, *rest in rows]
    # Prometheus's own clients use this name.
    named.append(
        ("process_cpu_seconds_total", "counter", "Processor time, all threads.", time.process_time())
    )
    lines = []
    for full, kind, text, value in named:
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {value}"]
    return "\n".join(lines) + "\n"
