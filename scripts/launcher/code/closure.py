"""The code that a rule's script executes: its statements, and all that they reach within the library, as one digest.

The digest of a statement is made of its own text and of the digests of what it refers to, wherever that stands and
whatever it is called.  So moving or renaming a function changes nothing, and neither does an edit of one that the
script does not reach.  What cannot be followed counts as a whole: classes, modules that are passed around as values,
packages that import their modules by listing them, and modules that strings name for another process to run.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from launcher.code.bindings import Reference
from launcher.code.components import components
from launcher.code.normal import Form, Statement, form_of

Node = tuple[str, int]  # (module, place of a top-level statement in it)
ROUNDS = 4  # in which statements that refer to each other in a circle are told apart


class Code(NamedTuple):
    """What a script executes: one digest of everything, and definition -> digest of its own text."""

    digest: str
    definitions: dict[str, str]


def combined(codes: Iterable[Code]) -> Code:
    """Return what several scripts execute, as one Code."""
    codes = list(codes)
    if len(codes) == 1:
        return codes[0]
    definitions = {name: digest for code in codes for name, digest in code.definitions.items()}
    return Code(_sha(*sorted(code.digest for code in codes)), definitions)


class Library:
    """The modules in a folder such as scripts/, and the digests of their statements."""

    def __init__(self, root: Path, cache: Path | None = None):
        """Find the modules below ``root``; cache: a file for modules' normal forms, by the digests of their bytes.

        Parsing takes half a second, and every call of Snakemake would do it again.
        """
        self.root, self.cache = Path(root), cache
        self.paths = {_module_name(path.relative_to(root)): path for path in sorted(self.root.rglob("*.py"))}
        self.packages = frozenset(path.parent.name for path in self.root.glob("*/__init__.py"))
        self.forms: dict[str, Form] = {}
        self.names: dict[str, dict[str, list[int]]] = {}
        self.digests: dict[Node, str] = {}
        self._known = _read_cache(cache)
        self._used: dict[str, Form] = {}

    def code_of(self, script: Path) -> Code:
        """Return the Code that a rule's script executes.  Raises SyntaxError if a module is not Python."""
        reach = _Reach(self)
        reach.execute(_module_name(Path(script).resolve().relative_to(self.root.resolve())))
        self._digest_all(reach.nodes)
        parts = []
        for module in reach.modules:
            effects = [self.digests[node] for node in self.nodes(module) if self.statement(node).effect]
            parts += [_sha(*effects)] if effects else []
        parts += [self.digests[node] for node in reach.discovered]
        parts += [f"{path.name} {_sha(path.read_bytes())}" for path in reach.files]
        return Code(_sha(*sorted(set(parts))), self._definitions(reach.nodes))

    def _definitions(self, nodes: Iterable[Node]) -> dict[str, str]:
        """definition -> digest of its own text; a name that is bound several times has several of them."""
        texts: dict[str, list[str]] = {}
        for node in sorted(nodes):
            if not self.statement(node).is_import:
                texts.setdefault(self.title(node), []).append(self.statement(node).digest)
        return {title: digests[0] if len(digests) == 1 else _sha(*digests) for title, digests in texts.items()}

    def save(self) -> None:
        """Write the cache, if there is anything new in it; a folder that cannot be written is no error."""
        if self.cache is None or self._used.keys() <= self._known.keys():
            return
        partial = self.cache.with_name(f"{self.cache.name}.{os.getpid()}")
        try:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({"version": _version(), "forms": self._used}), encoding="utf-8")
            partial.replace(self.cache)
        except OSError:
            partial.unlink(missing_ok=True)

    def form(self, module: str) -> Form:
        if module not in self.forms:
            path = self.paths[module]
            source = path.read_bytes()
            key = _sha(module.encode(), source)
            form = self._known.get(key) or form_of(
                source.decode("utf-8"), module, path.name == "__init__.py", self.packages
            )
            self.forms[module] = self._used[key] = form
            names = self.names[module] = {}
            for place, statement in enumerate(form.statements):
                for name in statement.names:
                    names.setdefault(name, []).append(place)
        return self.forms[module]

    def statement(self, node: Node) -> Statement:
        return self.form(node[0]).statements[node[1]]

    def nodes(self, module: str) -> list[Node]:
        return [(module, place) for place in range(len(self.form(module).statements))]

    def title(self, node: Node) -> str:
        names = self.statement(node).names
        return ".".join([node[0], *names[:1]]) if names else node[0] + f" (statement {node[1] + 1})"

    def below(self, package: str) -> list[str]:
        return [name for name in self.paths if name == package or name.startswith(f"{package}.")]

    # what a reference refers to

    def resolve(self, reference: Reference, module: str) -> tuple[list[Node], str]:
        """Return the statements that a reference in ``module`` refers to, and what of it is looked up only there."""
        target, names = reference[0], tuple(reference[1])
        if names == ("*",):
            package = target.rstrip(".")
            found = self.below(package) if package in self.paths else []
            return [node for name in found for node in self.nodes(name)], "*" if found else target
        if names == ("?",):
            return self._named_by_text(target)
        return self._follow(target or module, names, set())

    def _named_by_text(self, text: str) -> tuple[list[Node], str]:
        parts = text.split(".")
        for length in range(len(parts), 1, -1):
            if (module := ".".join(parts[:length])) in self.paths:
                # whoever loads it by a name may call whatever it holds
                return self.nodes(module), ".".join(["module", *parts[length:]])
        return [], text

    def _follow(self, module: str, names: tuple[str, ...], seen: set) -> tuple[list[Node], str]:
        if module not in self.paths or (module, names) in seen:
            return [], ".".join([module, *names])
        seen.add((module, names))
        form = self.form(module)
        if not names:
            return self.nodes(module), "module"
        first, rest = names[0], names[1:]
        if first in form.imports:
            target, more = form.imports[first]
            # `import a.b` binds a, in which b is found
            return self._follow(target, (*more, *rest), seen)
        if first in self.names[module]:
            return [(module, place) for place in self.names[module][first]], ".".join(rest)
        if f"{module}.{first}" in self.paths:
            return self._follow(f"{module}.{first}", rest, seen)
        return self.nodes(module), ".".join(names)

    # digests

    def _digest_all(self, nodes: Iterable[Node]) -> None:
        """Digest statements; those that refer to each other, in a circle, together."""
        targets: dict[Node, list] = {}

        def edges(node: Node) -> list[Node]:
            if node in self.digests:
                return []
            targets[node] = [self.resolve(reference, node[0]) for reference in self.statement(node).references]
            return [target for found, _ in targets[node] for target in found]

        for circle in components([node for node in nodes if node not in self.digests], edges):
            if circle[0] not in self.digests:
                self._digest_circle(circle, targets)

    def _digest_circle(self, circle: list[Node], targets: dict[Node, list]) -> None:
        digests = dict.fromkeys(circle, "circle")
        alone = len(circle) == 1
        for _ in range(1 if alone else ROUNDS):
            now = {}
            for node in circle:
                parts = [self.statement(node).digest]
                for found, rest in targets[node]:
                    ends = [digests.get(end) or self.digests[end] for end in found]
                    parts += [_sha(*(sorted(ends) if rest.startswith("module") else ends)), rest]
                now[node] = _sha(*parts)
            digests = now
        together = sorted(digests.values())
        self.digests |= digests if alone else {node: _sha(digest, *together) for node, digest in digests.items()}


class _Reach:
    """What is executed, from a script on: modules, statements, modules found by listing a package, files."""

    def __init__(self, library: Library):
        self.library = library
        self.modules: set[str] = set()
        self.nodes: set[Node] = set()
        self.discovered: set[Node] = set()
        self.files: set[Path] = set()
        self.waiting: list[Node] = []

    def execute(self, module: str) -> None:
        """Execute a module as an import does, with the packages around it, and all that it executes."""
        self._import(module)
        while self.waiting:
            self._visit(self.waiting.pop())

    def _import(self, module: str) -> None:
        parts = module.split(".")
        for name in (".".join(parts[: length + 1]) for length in range(len(parts))):
            if name in self.library.paths and name not in self.modules:
                self.modules.add(name)
                for node in self.library.nodes(name):
                    statement = self.library.statement(node)
                    if statement.effect or statement.is_import:
                        self._reach(node)

    def _reach(self, node: Node) -> None:
        if node not in self.nodes:
            self.nodes.add(node)
            self.waiting.append(node)

    def _visit(self, node: Node) -> None:
        statement = self.library.statement(node)
        self._import(node[0])
        for module in statement.imports:
            self._import(module)
        for reference in statement.references:
            for target in self.library.resolve(reference, node[0])[0]:
                self._reach(target)
        folder = self.library.paths[node[0]].parent
        if statement.discovers and folder != self.library.root:
            for module in self.library.below(_module_name((folder / "__init__.py").relative_to(self.library.root))):
                self._import(module)
                self.discovered.update(self.library.nodes(module))
                for found in self.library.nodes(module):
                    self._reach(found)
        if statement.files and folder != self.library.root:
            self.files.update(path for path in folder.iterdir() if path.is_file() and path.suffix != ".py")


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _sha(*parts: str | bytes) -> str:
    whole = b"\0".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    return hashlib.sha256(whole).hexdigest()[:16]


def _version() -> str:
    """Of what makes normal forms: this Python's grammar, and the modules beside this one."""
    own = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return _sha(str(sys.version_info[:2]), *own)


def _read_cache(path: Path | None) -> dict[str, Form]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
        forms = content["forms"] if content.get("version") == _version() else {}
        return {
            key: Form([Statement(*one) for one in statements], imports) for key, (statements, imports) in forms.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
