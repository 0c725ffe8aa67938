"""Render what the README plays and shows, from the embedded default: `nox -s pictures`."""

from __future__ import annotations

from pathlib import Path

import listen_picture
import matplotlib

import engine

TEXT = "Thanks for watching, see you next time."
FOLDER = Path(__file__).parent / "pictures"


def main() -> None:
    """Speak one sentence; write the wave, a picture of wave and mel, and one of the listening page."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    with engine.load(options=engine.Options(nfe=16)) as tts:
        audio = tts.synthesize(TEXT, seed=7)
    audio.save(FOLDER / "voice.wav")
    figure, (wave, mel) = plt.subplots(2, 1, figsize=(9, 4.2), sharex=True, layout="constrained")
    wave.plot(np.arange(len(audio.samples)) / audio.sample_rate, audio.samples, linewidth=0.4)
    wave.set(ylabel="amplitude (full scale = 1)", title=f"“{TEXT}”")
    extent = (0, audio.seconds, 0, audio.mel.shape[1])
    image = mel.imshow(audio.mel.T, origin="lower", aspect="auto", extent=extent)
    mel.set(xlabel="time (s)", ylabel="mel band")
    figure.colorbar(image, ax=mel, label="magnitude (natural log)")
    figure.savefig(FOLDER / "voice.png", dpi=110, metadata={"Software": None})
    listen_picture.draw(FOLDER / "listen.png")


if __name__ == "__main__":
    main()
