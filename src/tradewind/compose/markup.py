"""HTML of e-mails: one small accessible page, built from escaped lines; and its text, for the guard."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

_TAG = re.compile(r"<[^<>]*>")
_HEAD = re.compile(r"<head>.*?</head>", re.DOTALL)

_PAGE = (
    '<!doctype html>\n<html lang="{lang}" dir="ltr"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>{subject}</title></head>\n'
    '<body style="margin:0;padding:24px;background:#fff;color:#1a1a1a;font:16px/1.6 sans-serif">\n'
    '<div style="display:none;max-height:0;overflow:hidden">{preheader}</div>\n'
    '<main style="max-width:560px;margin:0 auto">\n{body}\n</main>\n'
    '<footer style="max-width:560px;margin:32px auto 0;color:#595959;font-size:14px">{footer}</footer>\n</body></html>\n'
)


def page(
    *, lang: str, subject: str, preheader: str, paragraphs: Sequence[str], action: tuple[str, str] | None, footer: tuple[str, str, str]
) -> str:
    """Return the page; every text is escaped. ``action`` is (label, address), ``footer`` (text, label, address)."""
    body = [f"<p>{'<br>'.join(html.escape(line) for line in text.split(chr(10)))}</p>" for text in paragraphs]
    if action is not None:
        style = "display:inline-block;padding:12px 20px;background:#0b57d0;color:#fff;border-radius:6px;text-decoration:none"
        body.append(f'<p><a href="{html.escape(action[1])}" style="{style}">{html.escape(action[0])}</a></p>')
    said, label, address = (html.escape(text) for text in footer)
    last = f'{said}<br>\n<a href="{address}" style="color:#595959">{label}</a>'
    values = {"lang": lang, "subject": html.escape(subject), "preheader": html.escape(preheader), "body": "\n".join(body), "footer": last}
    return re.sub(r"\{(\w+)\}", lambda m: values[m.group(1)] if m.group(1) in values else m.group(), _PAGE)


def text_of(markup: str) -> str:
    """Return what a reader of :func:`page` sees, addresses of links included."""
    shown = re.sub(r'<a href="([^"]*)"[^<>]*>', r" \1 ", _HEAD.sub(" ", markup))
    return html.unescape(_TAG.sub(" ", shown))
