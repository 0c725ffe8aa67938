"""MOS: what listeners would say, predicted by DNSMOS.

DNSMOS P.835 (arXiv:2110.01763: speech, background, overall) and P.808 (arXiv:2010.15258), models inside the
speechmos package. It was trained on noisy and denoised telephone speech at 16 kHz: it hears noise, clipping
and robotic sound, but nothing above 8 kHz, no wrong word and no wrong voice, and a cheerful voice no better
than a flat one. It looks at windows of 9 s; a shorter clip is repeated to fill one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.audio import Samples
from engine.gate.data.scores import Mos
from engine.gate.quality.judges.missing import require
from engine.gate.quality.judges.resample import JUDGES_RATE, to_16k


class Dnsmos:
    """DNSMOS on one CPU thread, so that several processes can judge side by side.

    Raises:
        MissingJudge: speechmos, onnxruntime or librosa is not installed.
    """

    def __init__(self) -> None:
        package = require("mos", "speechmos.dnsmos")
        runtime = require("mos", "onnxruntime")
        folder = Path(package.__file__).parent / "dnsmos_models"
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        primary, p808 = (
            runtime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
        )
        self._model = object.__new__(package.DNSMOS)  # its constructor would open both on every core
        self._model.onnx_sess, self._model.p808_onnx_sess = primary, p808

    def rate(self, samples: Samples) -> Mos:
        """Scores of samples [n >= 1] at 24 kHz, at their own level; beyond full scale they are clipped."""
        found = self._model(np.clip(to_16k(samples), -1, 1), JUDGES_RATE, False)
        ovrl, sig, bak, p808 = (float(found[f"{name}_mos"]) for name in ("ovrl", "sig", "bak", "p808"))
        return Mos(ovrl=ovrl, sig=sig, bak=bak, p808=p808)
