"""What the letters about accounts say, in English and Portuguese.

Owns the words and their two forms, plain and HTML. Who gets which letter, and when, is
``workers/accounts_mail.py``'s. A line of plain text is short enough to travel unchanged.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from html import escape
from typing import Literal

import msgspec

Template = Literal["verify_email", "reset_password", "password_changed", "already_registered"]

ENGLISH = "en"
_WIDTH = 72
_LINK, _TOKEN = "{link}", "{token}"


class Text(msgspec.Struct, frozen=True):
    """A subject and paragraphs; ``{name}``, ``{link}`` and ``{token}`` are filled in."""

    subject: str
    paragraphs: tuple[str, ...]


class Written(msgspec.Struct, frozen=True):
    """A text filled in, in both forms."""

    subject: str
    text: str
    html: str


TEXTS: dict[Template, dict[str, Text]] = {
    "verify_email": {
        "en": Text(
            "Confirm your address",
            (
                "Hello {name},",
                "please confirm that this is your address. Open this link within three days:",
                _LINK,
                "Or give this code where you are asked for it:",
                _TOKEN,
                "If you have not registered with us, you need not do anything.",
            ),
        ),
        "pt": Text(
            "Confirme o seu endereço",
            (
                "Olá {name},",
                (
                    "confirme, por favor, que este é o seu endereço. Abra esta ligação dentro de"
                    " três dias:"
                ),
                _LINK,
                "Ou indique este código onde lhe for pedido:",
                _TOKEN,
                "Se não se registou connosco, não precisa de fazer nada.",
            ),
        ),
    },
    "reset_password": {
        "en": Text(
            "Set a new password",
            (
                "Hello {name},",
                (
                    "somebody asked for a new password for your account. If it was you, open this"
                    " link within an hour:"
                ),
                _LINK,
                "Or give this code where you are asked for it:",
                _TOKEN,
                "If it was not you, you need not do anything: your password stays as it is.",
            ),
        ),
        "pt": Text(
            "Defina uma nova palavra-passe",
            (
                "Olá {name},",
                (
                    "alguém pediu uma nova palavra-passe para a sua conta. Se foi você, abra esta"
                    " ligação dentro de uma hora:"
                ),
                _LINK,
                "Ou indique este código onde lhe for pedido:",
                _TOKEN,
                "Se não foi você, não precisa de fazer nada: a sua palavra-passe não muda.",
            ),
        ),
    },
    "password_changed": {
        "en": Text(
            "Your password was changed",
            (
                "Hello {name},",
                (
                    "your password was changed by way of a letter to this address, and you were"
                    " logged out everywhere."
                ),
                (
                    "If it was not you, somebody else reads your mail: secure your mailbox first,"
                    " then ask for a new password."
                ),
            ),
        ),
        "pt": Text(
            "A sua palavra-passe foi alterada",
            (
                "Olá {name},",
                (
                    "a sua palavra-passe foi alterada através de uma mensagem para este endereço, e"
                    " a sua sessão foi terminada em todo o lado."
                ),
                (
                    "Se não foi você, outra pessoa lê o seu correio: proteja primeiro a sua caixa"
                    " de correio e peça depois uma nova palavra-passe."
                ),
            ),
        ),
    },
    "already_registered": {
        "en": Text(
            "You have an account already",
            (
                "Hello {name},",
                (
                    "somebody tried to register with this address, which has an account with us. If"
                    " it was you, just log in; you can ask for a new password there."
                ),
                "If it was not you, you need not do anything.",
            ),
        ),
        "pt": Text(
            "Já tem uma conta",
            (
                "Olá {name},",
                (
                    "alguém tentou registar-se com este endereço, que já tem uma conta connosco. Se"
                    " foi você, inicie simplesmente a sessão; aí pode pedir uma nova palavra-passe."
                ),
                "Se não foi você, não precisa de fazer nada.",
            ),
        ),
    },
}
"""By template and language."""


def written(template: Template, language: str, values: Mapping[str, str]) -> Written:
    """The text in this language, or in English, with these values."""
    return filled(TEXTS[template], language, values)


def filled(texts: Mapping[str, Text], language: str, values: Mapping[str, str]) -> Written:
    """One of these texts by language, English in want of it, with these values."""
    text = texts.get(language, texts[ENGLISH])
    plain, marked = [], []
    for paragraph in text.paragraphs:
        said = paragraph.format_map(values)
        # A link or a code must stay in one piece.
        plain.append(said if paragraph in (_LINK, _TOKEN) else textwrap.fill(said, _WIDTH))
        inner = escape(said)
        if paragraph == _LINK:
            inner = f'<a href="{inner}">{inner}</a>'
        elif paragraph == _TOKEN:
            inner = f"<code>{inner}</code>"
        marked.append(f"<p>{inner}</p>")
    html = [f'<!doctype html><html lang="{escape(language)}"><body>', *marked, "</body></html>"]
    return Written(text.subject, "\n\n".join(plain) + "\n", "\n".join(html) + "\n")
