"""Reading C++ well enough to measure it: comments and literals blanked, functions found by braces.

Not a compiler: code that fools it would have to be odder than this tree allows. Line numbers are kept,
because every blanked byte becomes a space and every line break stays.
"""
import re
from pathlib import Path

CODE = {".h", ".cc"}
# Folders that hold text of ours; build output and fetched packages are not.
SKIP = {".git", "build", "node_modules", "__pycache__"}


def files(root, folders, suffixes, deep=True):
    """Files of ours below root/folder (deep), or directly in it, as (relative path, Path) by name."""
    for folder in folders:
        for path in sorted((root / folder).glob("**/*" if deep else "*")):
            relative = path.relative_to(root)
            if path.is_file() and path.suffix in suffixes and not SKIP & set(relative.parts):
                yield str(relative), path


LITERAL = re.compile(
    r'//[^\n]*'
    r'|/\*.*?\*/'
    r'|R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",
    re.S)


def blank(text):
    """text with comments and the insides of literals as spaces; strings keep their quotes."""
    def replace(match):
        body = match.group(0)
        hidden = re.sub(r"[^\n]", " ", body)
        if body[0] in "\"'R" and not body.startswith("//"):
            return '"' + hidden[1:-1] + '"'
        return hidden
    return LITERAL.sub(replace, text)


def blank_preprocessor(text):
    """blanked text without preprocessor lines, their continuations included."""
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text,
                  flags=re.M)


PARENS = re.compile(r"\([^()]*\)")
ATTRIBUTES = re.compile(r"\b(?:alignas|__attribute__|noexcept|requires|decltype)\s*\x00|\[\[[^\]]*\]\]")
ANGLES = re.compile(r"<[^<>]*>")
TYPE = re.compile(r"\b(?:class|struct|union|enum|namespace|extern)\b")


def kind_of(head):
    """What the brace after this text (since the last ; { or }) opens: "body" of a function, "scope" of
    a type or namespace, or "value": an initialiser, in which no function can begin."""
    collapsed = re.sub(r"operator\s*(?:\(\)|[^\s\w(]+)", "operator ", head)
    while PARENS.search(collapsed):
        collapsed = PARENS.sub("\x00", collapsed)
    collapsed = ATTRIBUTES.sub(" ", collapsed)
    while ANGLES.search(collapsed):
        collapsed = ANGLES.sub("", collapsed)
    if re.search(r"\[[^\]]*\]\s*\x00", collapsed):
        return "body"  # a lambda that initialises a constant
    if TYPE.search(collapsed.split("\x00")[0]):
        return "scope"
    return "value" if "\x00" not in collapsed or "=" in collapsed else "body"


def functions(text):
    """(head, first line, last line) of every function body; lambdas belong to the function around."""
    text = blank_preprocessor(blank(text))
    found, stack, start, line = [], [], 0, 1
    for i, char in enumerate(text):
        if char == "\n":
            line += 1
        elif char == "{":
            kind = "inner" if stack and stack[-1][0] != "scope" else kind_of(text[start:i])
            head = text[start:i].strip()
            stack.append((kind, head, line - text[start:i].lstrip().count("\n")))
            start = i + 1
        elif char == "}" and stack:
            kind, head, first = stack.pop()
            if kind == "body":
                found.append((" ".join(head.split()), first, line))
            start = i + 1
        elif char == ";":
            start = i + 1
    return found
