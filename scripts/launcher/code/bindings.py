"""Which names Python binds where: in a statement, in a function, by an import."""

import ast
from collections.abc import Iterable, Iterator, Mapping

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
OWN_SCOPES = (*FUNCTIONS, ast.ClassDef, ast.Lambda, *COMPREHENSIONS)
LOOKS_AT_NAMES = {"locals", "vars", "eval", "exec", "globals", "dir"}  # a function: at those of its local variables

Reference = tuple[str, tuple[str, ...]]  # (module, names after it); module "" is the statement's own


class Scope:
    """Names of a function or a class.

    bound: names that are numbered in the text; kept: names that stay in it; imports: name -> Reference;
    reads_types: whether something may read the annotations of a class.
    """

    def __init__(
        self,
        bound: Iterable[str] = (),
        kept: Iterable[str] = (),
        imports: Mapping[str, Reference] | None = None,
        is_class: bool = False,
        reads_types: bool = False,
    ) -> None:
        self.bound, self.kept, self.imports = set(bound), set(kept), imports or {}
        self.is_class, self.reads_types = is_class, reads_types
        self.numbers: dict[str, str] = {}


def last_name(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def without_docstring(body: list, keep: bool) -> list:
    first = body[0] if body else None
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_text and not keep else body


def executed(body: list) -> Iterator:
    """The parts of a block that run: without what only a type checker reads, and without texts that stand alone."""
    for node in body:
        if isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING":
            yield from executed(node.orelse)
        elif not isinstance(node, ast.Pass):
            yield node


def in_scope(node: ast.AST) -> Iterator[ast.AST]:
    """A node and those in it that have the same local names."""
    yield node
    if isinstance(node, COMPREHENSIONS):
        yield from (inner for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
    elif not isinstance(node, OWN_SCOPES):
        for inner in ast.iter_child_nodes(node):
            yield from in_scope(inner)


def names_bound_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id] if not isinstance(node.ctx, ast.Load) else []
    if isinstance(node, ast.NamedExpr):
        return [node.target.id]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return [node.name] if node.name else []
    return [node.rest] if isinstance(node, ast.MatchMapping) and node.rest else []


def bound_in(statement: ast.stmt) -> list[str]:
    return list(dict.fromkeys(name for node in in_scope(statement) for name in names_bound_by(node)))


def import_targets(node: ast.stmt, package: str) -> list[tuple[str, list[str]]]:
    """(module, names taken from it) of an import statement."""
    if isinstance(node, ast.Import):
        return [(alias.name, []) for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
    module = ".".join(filter(None, [above, node.module]))
    return [(module, [alias.name for alias in node.names])]


def imported(node: ast.AST, package: str) -> dict[str, Reference]:
    """name -> (module, names in it) of what an import statement binds."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: (
                alias.name if alias.asname else alias.name.partition(".")[0],
                (),
            )
            for alias in node.names
        }
    if not isinstance(node, ast.ImportFrom):
        return {}
    ((module, _),) = import_targets(node, package)
    return {alias.asname or alias.name: (module, (alias.name,)) for alias in node.names}


def scope_of(body: list[ast.AST], parameters: set[str], package: str) -> Scope:
    """Return the Scope of a function; package: that its module is in, from which relative imports start."""
    nodes = [inner for part in body for inner in in_scope(part)]
    elsewhere = {name for node in nodes if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    binders: dict[str, list[ast.AST]] = {}
    for node in nodes:
        for name in names_bound_by(node):
            binders.setdefault(name, []).append(node)
    imports = {
        name: imported(binding[0], package)[name]
        for name, binding in binders.items()
        if len(binding) == 1 and isinstance(binding[0], ast.Import | ast.ImportFrom)
    }
    used = {inner.id for part in body for inner in ast.walk(part) if isinstance(inner, ast.Name)}
    names = set(binders) - elsewhere
    return Scope((), names | parameters, imports) if used & LOOKS_AT_NAMES else Scope(names, parameters, imports)
