"""Texts that have broken pages, tables and parsers."""

from __future__ import annotations

HOSTILE = {
    "script": "<script>window.__pwned = 1</script>",
    "end of the data block": "</script><script>window.__pwned = 1</script><!-- <script>",
    "handler": "<img src=x onerror='window.__pwned = 1'><svg onload=window.__pwned=1>",
    "link": "<a href='javascript:window.__pwned=1'>click</a> [click](javascript:window.__pwned=1)",
    "frame": "<iframe srcdoc='<script>parent.__pwned=1</script>'></iframe><base href='//example.invalid/'>",
    "style": "</style><style>* { display: none !important }</style>",
    "entities": "&lt;script&gt; &amp;amp; &#60; \\u003cscript\\u003e \\n",
    "template": "${window.__pwned = 1} $data $script {{ 7 * 7 }} {% raw %} %s %(x)s",
    "formula": '=HYPERLINK("http://example.invalid";"x")\n+1+1\n-1\n@SUM(A1)\n\t=1',
    "bidi": "user\u202e nimda\u202c \u2066\u2067abc\u2069 \u200f\u200e\u061c",
    "lone surrogates": "half \ud800 and \udc00 of pairs \udbff",
    "NUL and controls": "a\x00b\x01c\x07d\x1be\x7ff\x85g",
    "line separators": "a\u2028b\u2029c\r\nd\re\n\nf\tg",
    "zero width": "a\u200bb\u200cc\u200dd\ufeffe\u2060f\u00adg\u034fh\u3164i" + "\u200b" * 500,
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\U000e0067\U000e0062\U000e007f 1\ufe0f\u20e3 \u2764",
    "right to left": "\u0645\u0631\u062d\u0628\u0627 (a) \u05e9\u05dc\u05d5\u05dd 123; \u0645\u06cc\u200c\u062e\u0648",
    "combining": "Z\u0351\u036b\u0343a\u0323\u0356l\u0329\u0331go" + "\u0301" * 200,
    "markdown": "```\n<b>\n# x\n``` ![i](http://example.invalid/i.png) **<i>x</i>** `</code>`\n- <u>\n1. x",
    "spaces": "   leading and trailing   \n\n\n",
    "50,000 characters": "x" * 50_000,
    "50,000 characters in lines": "a word of text\n" * 3_334,
    "names of objects": "__proto__ constructor toString",
}
