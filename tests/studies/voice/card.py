"""Writes the model card of a voice from its manifest and its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Scores = dict[str, dict[str, Any]]
NAMES = {
    "source": "source speech (flite) of the same clips",
    "copy": "copy-synthesis (true mel, shipped Vocos)",
    "NFE 16": "generated, NFE 16",
    "NFE 7": "generated, NFE 7",
}
WORDS = {"NFE 16": 0.10, "NFE 7": 0.15, "copy": 0.03}  # WER above the source's
LETTERS = {"NFE 16": 0.06, "NFE 7": 0.10}  # CER above the source's
SPEAKER, MOS = 0.95, 0.30
LOUDNESS = 3.0  # dB between the speech of a voice and its clip
LEVEL = """## Level
The transformer learnt from unrounded speech, whose mel is silent (-11.5) above 8 kHz and between words; the
vocoder from speech rounded to {bits} bits, whose noise fills these places. Met with such silence, the vocoder
spoke 9 to 11 dB below the clip: so do the clips themselves once they are low-passed in floats. The `level` in
the manifest mends it (`engine/level.py`): the mean mel of {bits}-bit rounding noise is added before the
vocoder, and its wave changed by {gain_db:+.1f} dB, measured on 80 outputs for sentences that are not in the
table. `Audio.mel` is as the transformer made it. DNSMOS rates the same speech higher when it is quieter:
without the correction it is 2.50 at 10 dB below the clip, but 2.27 once that is raised to the clip's level
(25 sentences, NFE 7). One gain serves every text: of the 100 outputs for the table, 99 (NFE 7) and 100
(NFE 16) are within 3.0 dB of their clip; a text of one short word may be 4 to 6 dB off.

"""
CARD = """# {title}

Speaks **English only**, in the four voices of its training data. A demonstration voice for tests, CI and
first steps, not a product voice: a reference clip of any other speaker is not imitated.

| | |
| --- | --- |
| Model | upstream's `DiT` and `Vocos` classes; {params} parameters, fp16, {megabytes:.1f} MB |
| Text front end | `durations.json`: lexicon, letter-to-sound rules, phone durations (`engine/durations.py`) |
| Training data | {clips} sentences (Debian's `fortunes`, generated chat) said by `flite` 2.2: {voices} |
| Training so far | {steps} steps of about {batch} frames, on a CPU |
| Licence | {licence} for weights, tables and clips; flite and its voices are free software, BSD-like |
| Recipe | `nox -s study -- voice` (`tests/studies/voice/`); `--init` goes on from these weights |

## Scores
{held_out} held-out sentences, {each} of each voice, reference clip of the same voice, fixed seeds,
guidance 2.0, sway -1, upstream's pruned grid of steps (`schedule="epss"`). Words by pocketsphinx, speaker by
resemblyzer (nearest of the four clips), naturalness by DNSMOS (overall). The level is that of the speech,
pauses left out, in dB beside the reference clip: of the quietest and of the loudest of the four voices.
Differences below are to the source speech of the same clips.

| | clips | WER | CER | right speaker | DNSMOS | level |
| --- | --- | --- | --- | --- | --- | --- |
{table}

{verdict}

{level}## Limits
- Four synthetic speakers recorded at 16 kHz: nothing above 8 kHz.
- Words outside the lexicon are spoken by rules and may be mispronounced; numbers are read digit by digit.
- Pauses only at punctuation; questions sound like statements, as they do in the source voices.
"""


def write_card(folder: Path, history: dict[str, Any]) -> None:
    """Write `folder`/CARD.md. `history`: training steps, frames a batch and number of sentences."""
    manifest = json.loads((folder / "voice.json").read_text())
    scores: Scores = json.loads((folder / "scores.json").read_text())
    files = manifest["files"].items()
    size = sum(entry["bytes"] for name, entry in files if name.endswith((".safetensors", ".bin")))
    count = next(iter(scores.values()))["clips"]
    text = CARD.format(
        title=manifest["title"],
        params=f"{manifest['params'] / 1e6:.1f} M",
        megabytes=size / 1e6,
        voices=", ".join(manifest["references"]),
        licence=manifest["licence"],
        held_out=count,
        each=count // len(manifest["references"]),
        table=table(scores),
        verdict=verdict(scores),
        level=LEVEL.format(**manifest["level"]) if "level" in manifest else "",
        **history,
    )
    (folder / "CARD.md").write_text(text, encoding="utf-8")


def table(scores: Scores) -> str:
    """One line a system; the source is that of the generated clips, to which the differences are."""
    judged = [one["source"] for system, one in scores.items() if system != "source"]
    shown = {**scores, **({"source": judged[0]} if judged else {})}
    return "\n".join(row(name, shown[system]) for system, name in NAMES.items() if system in shown)


def row(name: str, score: dict[str, Any]) -> str:
    """One line of the table."""
    rates = f"{score['wer']:.3f} | {score['cer']:.3f} | {score['speaker']:.0%} | {score['dnsmos']:.2f}"
    levels = score["level"].values()
    return f"| {name} | {score['clips']} | {rates} | {min(levels):+.1f} to {max(levels):+.1f} |"


def verdict(scores: Scores) -> str:
    """Which targets are reached, one line each, from the scores alone."""
    lines = []
    for system in ("copy", "NFE 16", "NFE 7"):
        if system not in scores:
            continue
        score = scores[system]
        source = score["source"]
        for measure, limits in (("wer", WORDS), ("cer", LETTERS)):
            if system in limits:
                over = score[measure] - source[measure]
                reached = over <= limits[system]
                lines.append(line(system, measure.upper(), f"{over:+.3f}", f"{limits[system]:+.2f}", reached))
        if system != "copy":
            right = score["speaker"]
            lines.append(line(system, "right speaker", f"{right:.0%}", f"{SPEAKER:.0%}", right >= SPEAKER))
            apart = max(score["level"].values(), key=abs)
            lines.append(
                line(system, "level", f"{apart:+.1f} dB", f"{LOUDNESS:g} dB", abs(apart) <= LOUDNESS)
            )
            over = score["dnsmos"] - source["dnsmos"]
            lines.append(line(system, "DNSMOS", f"{over:+.2f}", f"{-MOS:+.2f}", over >= -MOS))
    return "\n".join(lines)


def line(system: str, measure: str, found: str, target: str, reached: bool) -> str:
    """One target; error rates and DNSMOS are differences to the source speech."""
    outcome = "reached" if reached else "**missed**"
    return f"- {NAMES[system]}: {measure} {found}, target {target}: {outcome}."
