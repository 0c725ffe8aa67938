"""Flite's phones, and the token of upstream's vocabulary for each: IPA, with capitals for diphthongs."""

from __future__ import annotations

_PAIRS = (
    "end . pau , aa ɑ ae æ ah ʌ ao ɔ aw W ax ə ay I eh ɛ er ɜ ey A ih ɪ iy i ow O oy Y uh ʊ uw u "
    "b b ch č d d dh ð f f g ɡ hh h jh J k k l l m m n n ng ŋ p p r ɹ s s sh ʃ t t th θ v v w w y j z z zh ʒ"
).split()
TOKENS = dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True))
NAMES = list(TOKENS)
