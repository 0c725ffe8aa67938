"""The only contact with f5-tts and vocos. What is relied on is fingerprinted in
`third_party/contract.json`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
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


@contextlib.contextmanager
def without_trainer() -> Iterator[None]:
    """Import `f5_tts.model` without its trainer, which pulls in wandb, datasets and accelerate for seconds.

    The package's `__init__` imports the trainer beside the models. A placeholder stands in for that one
    module during the import and is taken away afterwards, so that `f5_tts.model.trainer` itself still imports
    whole.
    """
    name = "f5_tts.model.trainer"
    if name in sys.modules or "f5_tts.model" in sys.modules:
        yield
        return
    placeholder: Any = ModuleType(name)
    placeholder.Trainer = None
    sys.modules[name] = placeholder
    try:
        yield
    finally:
        sys.modules.pop(name, None)  # another thread may have been here
        vars(sys.modules.get("f5_tts.model", placeholder)).pop("Trainer", None)


def module(name: str) -> Any:
    """Import one upstream module, with the two compatibility steps taken first.

    Raises:
        UpstreamError: the package is missing or does not import here.
    """
    try:
        allow_torchaudio_on_cpu()
        with without_trainer():
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


def build_vocoder(config: Path) -> Any:
    """A freshly initialised upstream `Vocos` from its own configuration file.

    Raises:
        CheckpointError: the file is unreadable or names classes outside the vocos package.
    """
    import yaml

    try:
        parts = yaml.safe_load(config.read_text(encoding="utf8"))
        classes = [parts[part]["class_path"] for part in ("feature_extractor", "backbone", "head")]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"vocoder configuration {config} ({error!r})", "a Vocos config.yaml", "Fetch it again"
        ) from error
    if not all(str(name).startswith("vocos.") for name in classes):  # it instantiates whatever the file names
        raise CheckpointError(
            f"vocoder classes {classes} in {config}", "classes of the vocos package", "Fetch it again"
        )
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
