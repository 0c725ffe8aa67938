"""In which ways the baselines of one revision ask for less than those of another: every file is compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from engine.gate.baselines.select import SCHEMA_VERSION, parse
from engine.gate.data.limits import PORTABLE, SESSIONS_KEPT, Baseline, Limit, Session


def loosened_files(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Every way in which the baselines of `after` ask for less than those of `before`, one sentence each.

    Both map the names of all JSON files of a `baselines/` folder to their texts; files that are no machine's
    baseline (studies, the schema) are left alone. A file that a machine gets anew takes over from the
    portable one. A file of another schema version cannot be compared, which is said as if it were looser.

    Raises:
        BaselineError: a baseline of either side cannot be read. EditedError: a recorded session was edited.
    """
    old = {PurePosixPath(name).name: text for name, text in before.items() if _is_baseline(text)}
    new = {PurePosixPath(name).name: text for name, text in after.items()}
    sentences: list[str] = []
    for name, text in sorted(old.items()):
        sentences += [f"{name}: {sentence}" for sentence in _file(name, text, new.get(name))]
    fresh = [name for name in sorted(new) if name not in old and _is_baseline(new[name])]
    portable = old.get(f"{PORTABLE}.json")
    if portable is None or _version(portable) != SCHEMA_VERSION:
        return sentences
    shared = parse(portable, f"the earlier {PORTABLE}.json").model_copy(
        update={"machines_with_own_baseline": ()}
    )
    for name in fresh:
        looser = loosened(shared, parse(new[name], name))
        sentences += [f"{name}, which takes over from {PORTABLE}.json: {sentence}" for sentence in looser]
    return sentences


def loosened(old: Baseline, new: Baseline) -> list[str]:
    """Every way in which `new` asks for less than `old`, one sentence each; empty if in none."""
    sentences, after = [], new.limits()
    for name, limit in old.limits().items():
        if name not in after:
            sentences.append(f"{name} was removed (upper {limit.upper:g} {limit.unit})")
        elif after[name].unit != limit.unit:
            sentences.append(f"{name} changed its unit from {limit.unit} to {after[name].unit}")
        else:
            sentences += _looser(name, limit, after[name])
    sentences += [
        f"workload {name!r} is no longer pinned"
        for name in sorted(old.workloads.keys() - new.workloads.keys())
    ]
    sentences += [
        f"workload {name!r} was changed, so its limits are held to other work"
        for name in sorted(old.workloads.keys() & new.workloads.keys())
        if old.workloads[name] != new.workloads[name]
    ]
    sentences += [f"the session recorded at {stamp} was removed" for stamp in _dropped(old, new)]
    excused = sorted(set(old.relative.required_judges) - set(new.relative.required_judges))
    sentences += [f"judge {name!r} is no longer required" for name in excused]
    machines = sorted(set(old.machines_with_own_baseline) - set(new.machines_with_own_baseline))
    return sentences + [f"{name} no longer needs its own baseline" for name in machines]


def _file(name: str, old: str, new: str | None) -> list[str]:
    """What is looser in one file, by its texts."""
    if new is None:
        return ["the file was removed, and with it every limit and session"]
    baseline = parse(new, name)
    if (version := _version(old)) != SCHEMA_VERSION:
        return [f"its limits cannot be compared: it was of schema version {version}, now {SCHEMA_VERSION}"]
    return loosened(parse(old, f"the earlier {name}"), baseline)


def _looser(name: str, old: Limit, new: Limit) -> list[str]:
    sentences = []
    if new.upper > old.upper:
        sentences.append(f"{name} upper was raised from {old.upper:g} to {new.upper:g} {old.unit}")
    if old.lower is not None and (new.lower is None or new.lower < old.lower):
        fallen = "nothing" if new.lower is None else f"{new.lower:g}"
        sentences.append(f"{name} lower was dropped from {old.lower:g} to {fallen} {old.unit}")
    return sentences


def _dropped(old: Baseline, new: Baseline) -> list[str]:
    """When the sessions were recorded that are gone, though they were not the oldest of a full set."""

    def identity(session: Session) -> tuple[str, str, str]:
        return (*session.key, session.sha256)

    def made_room(session: Session) -> bool:
        newer = [other for other in new.sessions if other.key == session.key]
        later = all(other.recorded_at > session.recorded_at for other in newer)
        return later and len(newer) == SESSIONS_KEPT

    kept = {identity(session) for session in new.sessions}
    return [
        session.recorded_at.isoformat()
        for session in old.sessions
        if identity(session) not in kept and not made_room(session)
    ]


def _is_baseline(text: str) -> bool:
    """Whether a JSON file is a machine's baseline: it names a machine and relative limits."""
    try:
        content = json.loads(text)
    except ValueError:
        return False
    return isinstance(content, dict) and isinstance(content.get("machine"), str) and "relative" in content


def _version(text: str) -> object:
    return json.loads(text).get("schema_version")
