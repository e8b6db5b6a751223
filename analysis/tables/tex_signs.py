"""Text for LaTeX: its own signs escaped, Greek and accents as commands, and what pdfLaTeX has no sign for, named."""

import re
import unicodedata
from collections.abc import Iterable

SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "∈": r"$\in$",
    "√": r"$\surd$",
    "°": r"$^\circ$",
    "²": r"$^2$",
    "³": r"$^3$",
    "µ": r"$\mu$",
    "←": r"$\leftarrow$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "—": "---",
    "−": r"$-$",
    "-": r"$-$",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{WORD JOINER}": "{}",
    "\N{FIGURE SPACE}": r"\phantom{0}",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "d_z": "$d_z$",
}
# Combining sign -> the command that sets it on a letter, as far as TeX's oldest encoding has it.
ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
# Two of these are set as one other sign.
LIGATURES = re.compile(r"([-'])(?=\1)")
GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER (FINAL )?([A-Z]+)")
# Greek letters that look like Latin ones have no command of their own.
LIKE_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))
# A hyphen is a minus sign before a number and between two spaces, nowhere else.
SPECIAL = re.compile(r"\bd_z\b|(?<![\w.)-])-(?=\d)|(?<= )-(?= )|[^\w\s.,:;()\[\]=+*/'!?@-]|_", re.ASCII)


def escaped(text: str) -> str:
    """Text without TeX's own signs; what pdfLaTeX cannot print is its code point, `U+52A8`."""
    # A combining sign belongs to the letter before it.
    composed = unicodedata.normalize("NFC", " ".join(re.split(r"[\t\n\r\f\v]+", text)))
    composed = LIGATURES.sub("\\1\N{WORD JOINER}", composed)
    return SPECIAL.sub(lambda match: _sign(match[0]) or f"U+{ord(match[0]):04X}", composed)


def without_sign(texts: Iterable[str]) -> list[str]:
    """The characters in some texts that pdfLaTeX has no sign for, each once."""
    characters = dict.fromkeys(char for text in texts for char in unicodedata.normalize("NFC", text))
    return [char for char in characters if not (" " <= char <= "~" or char in "\t\n\r\f\v" or _sign(char))]


def _sign(text: str) -> str:
    """The commands for a character, empty where there are none."""
    if text in SIGNS:
        return SIGNS[text]
    if text in LIKE_LATIN:
        return f"${LIKE_LATIN[text]}$"
    if match := GREEK.fullmatch(unicodedata.name(text, "")):
        letter = match[3].replace("LAMDA", "LAMBDA")
        return rf"$\{'var' if match[2] else ''}{letter.lower() if match[1] == 'SMALL' else letter.capitalize()}$"
    decomposed = unicodedata.normalize("NFD", text)
    base, marks = decomposed[:1], decomposed[1:]
    if marks and all(mark in ACCENTS for mark in marks) and base.isascii() and base.isalpha():
        for mark in marks:
            base = rf"\{ACCENTS[mark]}{{{base}}}"
        return base
    return ""
