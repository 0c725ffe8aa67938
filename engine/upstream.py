"""The only contact with f5-tts and vocos. What is relied on is fingerprinted in
`third_party/contract.json`."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import CheckpointError, UpstreamError

MEL_SPEC: dict[str, Any] = {
    "n_fft": 1024,
    "hop_length": 256,
    "win_length": 1024,
    "n_mel_channels": 100,
    "target_sample_rate": 24_000,
    "mel_spec_type": "vocos",
}
"""The only mel that Vocos checkpoints of this family understand (upstream's `utils_infer` constants)."""


def allow_torchaudio_on_cpu() -> None:
    """Keep torchaudio's CUDA-linked extension from loading beside a CPU-only torch.

    The registry's torchaudio wheel links its native extension (forced alignment, RNN-T) to CUDA libraries,
    which a CPU-only torch does not bring, and importing it raises. The mel transform and the resampler are
    pure Python: an empty extension module in its place lets them import. With a CUDA torch nothing is done.
    """
    import torch

    if torch.version.cuda is not None or "torchaudio" in sys.modules:
        return
    extension: Any = ModuleType("torchaudio._extension")
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
    extension._IS_ALIGN_AVAILABLE = False
    extension.fail_if_no_align = lambda function: function
    sys.modules["torchaudio._extension"] = extension


DEFERRED = {
    "einx": "x_transformers calls it in layers that no model here has",
    "encodec": "vocos makes its features for other checkpoints with it",
    "librosa.filters": "f5_tts makes the mel of BigVGAN checkpoints with it",
    "pypinyin": "f5_tts spells Chinese with it, and its table of phrases takes seconds",
    "scipy.integrate": "torchdiffeq has solvers of SciPy's, which nobody asks for",
}
"""Modules that importing upstream's models pulls in, and that nothing here calls before their turn comes."""

MODELS = ("f5_tts.model", "vocos")
"""The packages that are imported without them; anything else of upstream's is imported whole."""


class _Deferred(ModuleType):
    """Stands in for a module while upstream is imported: its names find the real thing when they are used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(self.__name__, name)


class _Later:
    """A function or class of a module that is imported when it is called, or an attribute of it wanted."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def _real(self) -> Any:
        module, name = self._place
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)


@contextlib.contextmanager
def only_what_runs() -> Iterator[None]:
    """Import upstream without what costs seconds and is not called: `DEFERRED`, and its trainer (wandb,
    datasets, accelerate), which `f5_tts.model` imports beside the models.

    Placeholders stand in for these modules during the import and are taken away afterwards, so that whoever
    imports one of them later gets the whole of it. What upstream took from a placeholder is the real thing as
    soon as it is used.
    """
    trainer = "f5_tts.model.trainer"
    placeholders: dict[str, Any] = {name: _Deferred(name) for name in DEFERRED}
    if "f5_tts.model" not in sys.modules:
        placeholders[trainer] = ModuleType(trainer)
        placeholders[trainer].Trainer = None
    placed = {name: sys.modules.setdefault(name, module) for name, module in placeholders.items()}
    try:
        yield
    finally:
        for name, module in placed.items():
            if module is placeholders[name] and sys.modules.get(name) is module:
                del sys.modules[name]
        if trainer in placeholders:
            vars(sys.modules.get("f5_tts.model", placeholders[trainer])).pop("Trainer", None)


@functools.cache
def _importing() -> threading.RLock:
    """One import of upstream at a time: a second one would meet the first one's placeholders."""
    return threading.RLock()


def module(name: str) -> Any:
    """Import one upstream module, with the two compatibility steps taken first.

    Raises:
        UpstreamError: the package is missing or does not import here.
    """
    try:
        allow_torchaudio_on_cpu()
        whole = name in sys.modules or not f"{name}.".startswith(tuple(f"{package}." for package in MODELS))
        with _importing(), contextlib.nullcontext() if whole else only_what_runs():
            return importlib.import_module(name)
    except (ImportError, OSError) as error:
        package = name.split(".")[0].replace("_", "-")
        raise UpstreamError(
            f"importing {name} failed with {error}",
            f"an importable {package}",
            f"Install it: pip install {package}",
        ) from error


def shipped(relative: str) -> Path:
    """A data file inside the f5-tts package (vocabulary, configuration, example clip), found without
    importing it.

    Raises:
        UpstreamError: the package or the file is not there.
    """
    spec = importlib.util.find_spec("f5_tts")
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = Path(folders[0], relative) if folders else None
    if path is None or not path.is_file():
        raise UpstreamError(
            f"f5-tts has no file {relative}", "f5-tts 1.1.22 or a compatible release", "Reinstall f5-tts"
        )
    return path


def build_model(arch: dict[str, Any], backbone: str, vocabulary: Path) -> Any:
    """A freshly initialised upstream `CFM` on the CPU, with the mel front end of Vocos checkpoints.

    Args:
        arch: keyword arguments of the backbone, the `model.arch` part of an upstream configuration.
        backbone: `DiT` or `UNetT`.
        vocabulary: one token a line, as upstream's `get_tokenizer(path, "custom")` reads it.

    Raises:
        CheckpointError: upstream refuses the architecture.
    """
    utils, package = module("f5_tts.model.utils"), module("f5_tts.model")
    try:
        tokens, size = utils.get_tokenizer(str(vocabulary), "custom")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"vocabulary {vocabulary} ({error})", "one token a line in UTF-8", "Restore the file"
        ) from error
    _check_sizes(arch, f"architecture of {backbone}")
    if arch.get("attn_backend", "torch") not in ("torch", "flash_attn"):
        raise CheckpointError(
            f"attn_backend {arch['attn_backend']!r}",
            "torch or flash_attn",
            "Correct model.arch in config.yaml",
        )
    if backbone not in ("DiT", "UNetT"):
        raise CheckpointError(
            f"backbone {backbone!r}", "DiT or UNetT", "Correct model.backbone in config.yaml"
        )
    try:
        transformer = getattr(package, backbone)(
            **arch, text_num_embeds=size, mel_dim=MEL_SPEC["n_mel_channels"]
        )
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"architecture {arch} refused by upstream's {backbone} ({error})",
            "the keyword arguments of that class",
            "Correct model.arch in config.yaml",
        ) from error
    return package.CFM(transformer=transformer, mel_spec_kwargs=MEL_SPEC, vocab_char_map=tokens)


VOCOS_CLASSES = {
    "feature_extractor": "vocos.feature_extractors.MelSpectrogramFeatures",
    "backbone": "vocos.models.VocosBackbone",
    "head": "vocos.heads.ISTFTHead",
}
"""The classes of the only vocoder there is. Vocos instantiates whatever its configuration names, and
`vocos.pretrained.instantiate_class` would go on to anything else."""


def build_vocoder(config: Path) -> Any:
    """A freshly initialised upstream `Vocos` from its own configuration file.

    Raises:
        CheckpointError: the file is unreadable, or names other classes than those of vocos-mel-24khz.
    """
    import yaml

    try:
        parts = yaml.safe_load(config.read_text(encoding="utf8"))
        classes = {part: parts[part]["class_path"] for part in VOCOS_CLASSES}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"vocoder configuration {config} ({error!r})", "a Vocos config.yaml", "Fetch it again"
        ) from error
    if classes != VOCOS_CLASSES or set(parts) - set(VOCOS_CLASSES):
        raise CheckpointError(
            f"vocoder {config} with {sorted(parts)} of the classes {list(classes.values())}",
            f"{', '.join(VOCOS_CLASSES.values())}, and nothing else",
            "Fetch it again",
        )
    for part in VOCOS_CLASSES:
        _check_sizes(parts[part].get("init_args", {}), f"vocoder {config}")
    try:
        vocos = module("vocos.pretrained").Vocos.from_hparams(str(config))
        hop, bands = vocos.head.istft.hop_length, vocos.backbone.input_channels
    except (TypeError, ValueError, AttributeError, ImportError, AssertionError, RuntimeError) as error:
        raise CheckpointError(
            f"vocoder {config} ({error!r})", "arguments that vocos accepts", "Fetch it again"
        ) from error
    if (hop, bands) != (MEL_SPEC["hop_length"], MEL_SPEC["n_mel_channels"]):
        raise CheckpointError(
            f"vocoder {config} for {bands} mel bands every {hop} samples",
            "100 bands every 256 samples",
            "Use vocos-mel-24khz",
        )
    return vocos


LARGEST = 16_384
"""No size in an architecture is beyond this; the largest of any published checkpoint is 4,096."""


def _check_sizes(arguments: Any, where: str) -> None:
    """Refuse arguments that are no mapping of plain values, or sizes that would fill the memory.

    Raises:
        CheckpointError: named, with its value.
    """
    if not isinstance(arguments, dict):
        raise CheckpointError(f"{where} with {arguments!r}", "arguments by their names", "Restore the file")
    for name, value in arguments.items():
        plain = value is None or isinstance(value, (bool, int, float, str))
        if not plain or (isinstance(value, (int, float)) and not -LARGEST <= value <= 2 * LARGEST):
            raise CheckpointError(
                f"{where} with {name}={str(value)[:80]}",
                f"a plain value of at most {2 * LARGEST}",
                "Correct it",
            )


def tokenize(text: str) -> list[str]:
    """Upstream's tokens: letters as they are, Chinese as pinyin with tone digits
    (`convert_char_to_pinyin`)."""
    (tokens,) = module("f5_tts.model.utils").convert_char_to_pinyin([text])
    return list(tokens)


def token_ids(tokens: list[str], vocabulary: dict[str, int]) -> Any:
    """Indices into the text embedding, [1, nt] int64; an unknown token becomes 0 (`list_str_to_idx`)."""
    return module("f5_tts.model.utils").list_str_to_idx([tokens], vocabulary)


def epss_grid(steps: int, device: Any, dtype: Any) -> Any:
    """Upstream's pruned time grid, [steps + 1] (`get_epss_timesteps`)."""
    return module("f5_tts.model.utils").get_epss_timesteps(steps, device=device, dtype=dtype)
