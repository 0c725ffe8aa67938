"""Fingerprints of the upstream functions that the engine relies on.

    python third_party/contract.py            compare the installed releases with contract.json
    python third_party/contract.py --write    fingerprint the installed releases again

Sources are parsed, never imported: importing upstream takes seconds and loads CUDA-linked extensions.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONTRACT = HERE / "contract.json"

DISTRIBUTIONS = {"f5_tts": "f5-tts", "vocos": "vocos"}

RELIED_ON = {
    "f5_tts.model.cfm.CFM.__init__": "engine/upstream.py",
    "f5_tts.model.cfm.CFM.sample": "engine/sampler.py and engine/pieces.py",
    "f5_tts.model.backbones.dit.DiT.__init__": "engine/upstream.py",
    "f5_tts.model.backbones.dit.DiT.forward": "engine/sampler.py and engine/dit.py",
    "f5_tts.model.backbones.dit.DiT.get_input_embed": "engine/sampler.py",
    "f5_tts.model.backbones.dit.DiT.clear_cache": "engine/sampler.py",
    "f5_tts.model.backbones.dit.DiT.initialize_weights": "engine/voices/seeded.py",
    "f5_tts.model.backbones.dit.TextEmbedding.forward": "engine/dit.py",
    "f5_tts.model.backbones.dit.InputEmbedding.forward": "engine/sampler.py and engine/dit.py",
    "f5_tts.model.backbones.unett.UNetT.__init__": "engine/upstream.py",
    "f5_tts.model.backbones.unett.UNetT.forward": "engine/sampler.py",
    "f5_tts.model.modules.AdaLayerNorm.forward": "engine/dit.py",
    "f5_tts.model.modules.AdaLayerNorm_Final.forward": "engine/dit.py",
    "f5_tts.model.modules.ConvPositionEmbedding.forward": "engine/dit.py",
    "f5_tts.model.modules.TimestepEmbedding.forward": "engine/dit.py",
    "f5_tts.model.modules.DiTBlock.forward": "engine/dit.py",
    "f5_tts.model.modules.AttnProcessor.__call__": "engine/dit.py",
    "f5_tts.model.modules.MelSpec": "engine/upstream.py",
    "f5_tts.model.modules.get_vocos_mel_spectrogram": "engine/reference.py",
    "f5_tts.model.utils.get_epss_timesteps": "engine/sampler.py",
    "f5_tts.model.utils.convert_char_to_pinyin": "engine/upstream.py",
    "f5_tts.model.utils.get_tokenizer": "engine/upstream.py",
    "f5_tts.model.utils.list_str_to_idx": "engine/upstream.py",
    "f5_tts.model.utils.lens_to_mask": "engine/sampler.py",
    "f5_tts.infer.utils_infer.load_checkpoint": "engine/checkpoint.py",
    "f5_tts.infer.utils_infer.load_model": "engine/upstream.py",
    "f5_tts.infer.utils_infer.load_vocoder": "engine/vocoder.py",
    "f5_tts.infer.utils_infer.preprocess_ref_audio_text": "engine/reference.py",
    "f5_tts.infer.utils_infer.infer_batch_process": "engine/pieces.py and engine/audio.py",
    "f5_tts.infer.utils_infer.chunk_text": "engine/text.py",
    "vocos.pretrained.Vocos.from_hparams": "engine/upstream.py",
    "vocos.pretrained.Vocos.decode": "engine/vocoder.py",
    "vocos.heads.ISTFTHead.forward": "engine/vocoder.py",
    "vocos.spectral_ops.ISTFT.forward": "engine/vocoder.py",
}
"""Qualified name to the part of the engine that must be read again when it changes."""


def module_file(dotted: list[str]) -> tuple[Path, list[str]]:
    """The source file of a dotted name, and what is left of the name inside that file.

    Raises:
        LookupError: the package or the module is not installed.
    """
    spec = importlib.util.find_spec(dotted[0])  # a top-level package is found without being run
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"{dotted[0]} is not installed")
    path, rest = Path(next(iter(spec.submodule_search_locations))), dotted[1:]
    while rest and path.is_dir():
        name = rest.pop(0)
        path = path / name if (path / name).is_dir() else path / f"{name}.py"
    if not path.is_file():
        raise LookupError(f"{'.'.join(dotted)} has no source file")
    return path, rest


def find(tree: ast.AST, names: list[str]) -> ast.AST:
    """The definition that a chain of names leads to.

    Raises:
        LookupError: there is none.
    """
    for name in names:
        children = [node for node in ast.iter_child_nodes(tree) if getattr(node, "name", None) == name]
        if not children:
            raise LookupError(f"no definition of {'.'.join(names)}")
        tree = children[-1]  # the last definition is the one Python keeps
    return tree


def is_docstring(node: object) -> bool:
    """True for a string that stands alone as a statement."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def normalised(node: object) -> object:
    """The syntax tree as plain lists, equal for equal code: no comments, layout, docstrings or empty fields.

    `ast.dump` would do, but its text differs between Python versions.
    """
    if isinstance(node, list):
        return [normalised(item) for item in node if not is_docstring(item)]
    if not isinstance(node, ast.AST):
        return ascii(node)  # what repr prints plainly depends on the Unicode tables of the Python
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return [
        type(node).__name__,
        *([name, normalised(value)] for name, value in fields if name not in ("kind", "ctx")),
    ]


def signature(node: ast.AST) -> str:
    """How it is called; for a class, how its `__init__` is."""
    if isinstance(node, ast.ClassDef):
        node = find(node, ["__init__"])
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        raise LookupError(f"{node} is neither a class nor a function")
    return f"({ast.unparse(node.args)})"


def fingerprint(name: str) -> dict[str, str]:
    """Signature and SHA-256 of the normalised source of one qualified name, as installed.

    Raises:
        LookupError: it is not there.
    """
    path, rest = module_file(name.split("."))
    node = find(ast.parse(path.read_text(encoding="utf8")), rest)
    text = json.dumps(normalised(node), sort_keys=True)
    return {"signature": signature(node), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def differences(expected: dict[str, dict[str, str]], relied_on: Mapping[str, str] = RELIED_ON) -> list[str]:
    """One sentence for each relied-on name whose installed code is not what was fingerprinted."""
    found = []
    for name, user in relied_on.items():
        distribution = DISTRIBUTIONS[name.split(".")[0]]
        cure = f"Read the new code, adapt {user}, then fingerprint it again with `nox -s contract`."
        try:
            release = f"{distribution} {importlib.metadata.version(distribution)}"
            actual = fingerprint(name)
        except (LookupError, importlib.metadata.PackageNotFoundError) as error:
            found.append(f"{name} is gone from {distribution} ({error}). {cure}")
            continue
        if name not in expected:
            found.append(f"{name} has no fingerprint in {CONTRACT.name}. {cure}")
        elif actual["signature"] != expected[name]["signature"]:
            change = f"{expected[name]['signature']} became {actual['signature']}"
            found.append(f"{name} takes other arguments in {release}: {change}. {cure}")
        elif actual["sha256"] != expected[name]["sha256"]:
            found.append(f"{name} has another body in {release}. {cure}")
    unused = sorted(set(expected) - set(relied_on))
    return found + [
        f"{name} is fingerprinted but not in RELIED_ON. Run `nox -s contract`." for name in unused
    ]


def read() -> dict[str, dict[str, str]]:
    """The committed fingerprints."""
    contract: dict[str, Any] = json.loads(CONTRACT.read_text(encoding="utf8"))
    return contract


def main(arguments: list[str]) -> int:
    """Compare, or write with `--write`; 0 when the contract holds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="fingerprint the installed releases again")
    if parser.parse_args(arguments).write:
        text = json.dumps({name: fingerprint(name) for name in RELIED_ON}, indent=2)
        CONTRACT.write_text(text + "\n", encoding="utf8")
        return 0
    found = differences(read())
    print("\n".join(found) or f"All {len(RELIED_ON)} fingerprints hold.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
