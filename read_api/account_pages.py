"""The two pages to which links in letters lead: confirm an address, set a new password.

Owns the pages. They are the same for everybody: the token stands behind the ``#`` of the link,
which no browser sends, and their script hands it to the write API when a button is pressed, so that
no scanner of mail uses it up by looking.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode

from litestar import get
from litestar.handlers import HTTPRouteHandler

from adapters.http.operation import OPT, Operation
from adapters.http.responses import Answer, page

TAGS = ("Accounts",)

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif }
body { max-width: 26rem; margin: 4rem auto; padding: 0 1rem }
label, input, button { display: block; font: inherit; width: 100%; box-sizing: border-box }
input, button { padding: .6rem; margin: .4rem 0 1rem; border-radius: .4rem;
  border: 1px solid #8888 }
[hidden] { display: none }
"""

_SCRIPT = """
"use strict";
const texts = {
  "verify-email": {
    en: ["Confirm your address", "", "Confirm", "Your address is confirmed."],
    pt: ["Confirme o seu endereço", "", "Confirmar", "O seu endereço está confirmado."]},
  "reset-password": {
    en: ["Set a new password", "New password, at least 10 characters", "Set",
      "Your password is set. You can log in with it now."],
    pt: ["Defina uma nova palavra-passe", "Nova palavra-passe, pelo menos 10 caracteres",
      "Definir", "A sua palavra-passe está definida. Já pode iniciar sessão com ela."]}};
const failed = {
  en: {invalid_token: "This link is not good any more.", other: "That did not work. Try again."},
  pt: {invalid_token: "Esta ligação já não é válida.", other: "Não resultou. Tente de novo."}};
const call = location.pathname.split("/").pop();
const language = navigator.language.startsWith("pt") ? "pt" : "en";
const [title, label, button, done] = texts[call][language];
const token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
const at = id => document.getElementById(id);
document.documentElement.lang = language;
document.title = at("title").textContent = title;
at("label").textContent = label;
at("send").textContent = button;
at("password").hidden = at("label").hidden = label === "";
at("form").addEventListener("submit", async event => {
  event.preventDefault();
  const body = label === "" ? {token} : {token, password: at("password").value};
  at("send").disabled = true;
  let said = failed[language].other;
  try {
    const answer = await fetch("/v1/auth/" + call, {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    if (answer.ok) {
      said = done;
      at("form").hidden = true;
      history.replaceState(null, "", location.pathname);
    } else {
      const fault = ((await answer.json()).errors || [])[0];
      if (fault) said = failed[language][fault.code] || fault.message;
    }
  } catch { /* no answer: said so already */ }
  at("send").disabled = false;
  at("said").textContent = said;
});
"""

HTML = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width">'
    '<meta name="referrer" content="no-referrer">'
    f"<title>Mindstream</title><style>{_STYLE}</style></head><body>"
    '<h1 id="title"></h1><form id="form"><label id="label" for="password"></label>'
    '<input type="text" autocomplete="username" hidden>'
    '<input id="password" type="password" autocomplete="new-password">'
    '<button id="send"></button></form><p id="said" role="status"></p>'
    f"<script>{_SCRIPT}</script></body></html>"
)


def _hash(text: str) -> str:
    return "'sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


CSP = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def routes() -> list[HTTPRouteHandler]:
    """The handlers."""

    def page_at(path: str, operation_id: str, summary: str) -> HTTPRouteHandler:
        @get(
            path,
            opt={
                OPT: Operation(
                    summary=summary,
                    tags=TAGS,
                    enveloped=False,
                    response=str,
                    response_media_type="text/html",
                    operation_id=operation_id,
                )
            },
        )
        async def show() -> Answer:
            return page(HTML, csp=CSP)

        return show

    return [
        page_at("/account/verify-email", "verify_email_page", "Where a letter's link confirms"),
        page_at("/account/reset-password", "reset_password_page", "Where a letter's link resets"),
    ]
