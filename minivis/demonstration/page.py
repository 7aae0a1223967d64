"""The page of a demonstration: plain HTML beside the pictures, without anything fetched from elsewhere."""
import html

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1.5rem; color: #1e1e1e;
       background: #fff }
h1 { margin-bottom: 0 } h2 { margin-top: 3rem; border-bottom: 2px solid #ddd } h3 { margin: 2rem 0 0 }
nav a { margin-right: 1em; white-space: nowrap } p { margin: .3rem 0 .8rem; max-width: 46rem }
img { max-width: 100%; height: auto; border: 1px solid #ddd } code { background: #f3f3f3; padding: .1em .3em }
pre { background: #f3f3f3; padding: .5em .8em; overflow-x: auto; font-size: 14px } .aside { color: #666 }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #16181b } a { color: #8ab4f8 }
  code, pre { background: #26292e } h2, img { border-color: #3a3f46 } .aside { color: #9aa0a6 } }
"""


def page(title, intro, families, shown, skipped):
    """HTML text. families {letter: name}; shown: dicts with name, family, summary, title, file, size (height, width),
    seconds and command; skipped: (name, why)."""
    parts = [f"<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{html.escape(title)}</title>",
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">", f"<style>{STYLE}</style>",
             f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(line)}</p>" for line in intro)]
    present = [letter for letter in families if any(one["family"] == letter for one in shown)]
    parts.append("<nav>" + " ".join(f"<a href=\"#{letter}\">{html.escape(families[letter])}</a>" for letter in present)
                 + "</nav>")
    for letter in present:
        parts.append(f"<h2 id=\"{letter}\">{html.escape(families[letter])}</h2>")
        parts += [_entry(one) for one in shown if one["family"] == letter]
    if skipped:
        parts += ["<h2>Not shown</h2>", "<ul>", *(f"<li><code>{html.escape(name)}</code>: {html.escape(why)}</li>"
                                                  for name, why in skipped), "</ul>"]
    return "\n".join(parts) + "\n</html>\n"


def _entry(one):
    height, width = one["size"]
    file, title, summary, command = (html.escape(one[key]) for key in ("file", "title", "summary", "command"))
    return "\n".join([
        f'<h3 id="{one["name"]}">{title}</h3>', f"<p>{summary[:1].upper()}{summary[1:]}.</p>",
        f'<a href="{file}"><img src="{file}" width="{width}" height="{height}" loading="lazy" alt="{title}: {summary}">'
        "</a>", f'<p class="aside">{one["seconds"]:.1f} s. <code>{command}</code></p>'])
