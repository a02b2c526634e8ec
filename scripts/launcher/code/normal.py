"""A module's top-level statements in a form that comments, formatting, annotations and renamings leave as it is.

Every statement becomes the digest of a text in which local variables are numbered and in which names of this library
are left out: they are listed as references, and ``launcher.code.closure`` replaces each by the digest of what it refers
to.  Names that are looked up while the code runs stay in the text: attributes, methods, parameters, keywords, decorated
functions, and classes with bases.  Docstrings do not count; all other strings do, sentences of errors among them.
"""

import ast
import hashlib
import re
from typing import Any, NamedTuple

from launcher.code.bindings import (
    FUNCTIONS,
    Reference,
    Scope,
    bound_in,
    executed,
    import_targets,
    imported,
    in_scope,
    last_name,
    names_bound_by,
    scope_of,
    without_docstring,
)

# Decorators that neither register what they stand before nor read its annotations.
PURE_DECORATORS = {"cache", "lru_cache", "cached_property", "property", "staticmethod", "classmethod", "contextmanager"}
PURE_DECORATORS |= {"dataclass", "wraps", "setter", "abstractmethod", "override"}
COMPILERS = {"njit", "jit"}  # which may read annotations, but register nothing
DISCOVERS = ("pkgutil.", "importlib.import_module", "importlib.__import__", "__import__")
READS_FIELD_TYPES = re.compile(r"ClassVar|InitVar|KW_ONLY")
MODULE_NAME = re.compile(r"[a-zA-Z_]\w*(\.\w+)+|([a-zA-Z_]\w*\.)+")
UNWRITTEN = {"ctx", "kind", "type_comment", "type_params", "type_ignores"}


class Statement(NamedTuple):
    """One top-level statement.

    names: what it binds; digest: of its text; references: in the order of the text; imports: modules that it executes,
    wherever in it the import stands; is_import: whether it does nothing else; effect: whether importing its module does
    more with it than bind the names; discovers: whether it imports modules by names that it finds out; files: whether
    it reads files beside the module.
    """

    names: list[str]
    digest: str
    references: list[Reference]
    imports: list[str]
    is_import: bool
    effect: bool
    discovers: bool
    files: bool


class Form(NamedTuple):
    """A module: its top-level statements in their order, and name -> (module, names in it) of what it imports."""

    statements: list[Statement]
    imports: dict[str, Reference]


def form_of(source: str, module: str, is_package: bool, packages: frozenset[str]) -> Form:
    """Return the normal form of a module.

    source: its text; module: its dotted name; packages: names of the library's outermost packages.
    Raises SyntaxError.
    """
    tree = ast.parse(source)
    package = module if is_package else module.rpartition(".")[0]
    body = list(executed(tree.body))
    bound = {name for statement in body for name in bound_in(statement)}
    imports = {
        name: target
        for statement in body
        for node in in_scope(statement)
        for name, target in imported(node, package).items()
    }
    keep = "__doc__" in source
    return Form([_statement(node, package, packages, bound, imports, keep) for node in body], imports)


def _statement(
    node: ast.stmt,
    package: str,
    packages: frozenset[str],
    bound: set[str],
    imports: dict[str, Reference],
    keeps_docstrings: bool,
) -> Statement:
    names = bound_in(node)
    writer = _Writer(package, packages, set(bound) - set(imports), imports, names, keeps_docstrings)
    is_import = isinstance(node, ast.Import | ast.ImportFrom)
    writer.note_import(node) if is_import else writer.write(node)
    return Statement(
        names=names,
        digest=hashlib.sha256("\0".join(writer.text).encode("utf-8", "surrogatepass")).hexdigest()[:16],
        references=writer.references,
        imports=sorted(writer.imports),
        is_import=is_import,
        effect=_has_effect(node, writer),
        discovers=writer.discovers,
        files=writer.reads_files,
    )


def _has_effect(node: ast.stmt, writer: "_Writer") -> bool:
    """Whether importing a module does more with a statement than bind its names; yes, if that cannot be told."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return any(alias.name == "*" for alias in node.names)
    if isinstance(node, FUNCTIONS):
        return any(last_name(one) not in PURE_DECORATORS | COMPILERS for one in node.decorator_list)
    if isinstance(node, ast.ClassDef):
        registered = any(last_name(one) not in PURE_DECORATORS for one in node.decorator_list)
        return registered or bool(node.keywords) or any(map(writer.is_own, node.bases))
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        plain = all(isinstance(part, ast.Name | ast.Tuple | ast.Starred) for part in targets)
        calls = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
        return not plain or any(map(writer.is_own, calls))
    return not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


class _Writer:
    """Writes one top-level statement: text, references, imports."""

    def __init__(
        self,
        package: str,
        packages: frozenset[str],
        module_names: set[str],
        imports: dict[str, Reference],
        own_names: list[str],
        keeps_docstrings: bool,
    ) -> None:
        self.package, self.packages, self.module_names, self.module_imports = package, packages, module_names, imports
        self.own = {name: f"self{place}" for place, name in enumerate(own_names)}
        self.keeps_docstrings = keeps_docstrings
        self.text: list[str] = []
        self.references: list[Reference] = []
        self.imports: set[str] = set()
        self.discovers = self.reads_files = False
        self.scopes: list[Scope] = []
        self.count = 0

    def find(self, name: str) -> tuple[str, Any]:
        """Return (kind, value) of a name where it stands: local, import, own, global or builtin.

        The value of an import is a Reference, that of another kind a text.
        """
        for depth, scope in enumerate(reversed(self.scopes)):
            if scope.is_class and depth:
                continue  # functions do not see the names of the class around them
            if name in scope.imports:
                return "import", scope.imports[name]
            if name in scope.kept:
                return "local", f"={name}"
            if name in scope.bound:
                if name not in scope.numbers:
                    self.count += 1
                    scope.numbers[name] = f"v{self.count}"
                return "local", scope.numbers[name]
        if name in self.own and name not in self.module_imports:
            return "own", self.own[name]
        if name in self.module_imports:
            return "import", self.module_imports[name]
        return ("global", name) if name in self.module_names else ("builtin", name)

    def is_own(self, node: ast.expr) -> bool:
        """Whether an expression begins with a name of this library."""
        while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
            node = node.func if isinstance(node, ast.Call) else node.value
        if not isinstance(node, ast.Name):
            return not isinstance(node, ast.Constant | ast.JoinedStr)
        kind, value = self.find(node.id)
        return kind in ("own", "global") or (kind == "import" and self.in_library(value[0]))

    def in_library(self, module: str) -> bool:
        """Whether a module is one of this library."""
        return module.partition(".")[0] in self.packages

    def name(self, name: str, attributes: tuple[str, ...] = ()) -> None:
        """Write a name and the attributes after it, as a reference if it is one of this library."""
        kind, value = self.find(name)
        if kind == "import" and self.in_library(value[0]):
            self.references.append((value[0], (*value[1], *attributes)))
            self.text.append("@")
            return
        if kind == "import":
            value = ".".join([value[0], *value[1], *attributes])
            self.discovers |= value.startswith(DISCOVERS)
            self.reads_files |= value.startswith(("importlib.resources", "pkgutil.get_data"))
        elif kind == "global":
            self.references.append(("", (name, *attributes)))
            value = "@"
        else:
            self.discovers |= kind == "builtin" and name in DISCOVERS
            self.reads_files |= kind == "builtin" and name in ("__file__", "__path__")
            value = ".".join([value, *attributes])
        self.text.append(value)

    def note_import(self, node: ast.stmt) -> None:
        """Note the modules of this library that an import statement executes."""
        for module, names in import_targets(node, self.package):
            if self.in_library(module):
                self.imports.add(module)
                self.imports |= {f"{module}.{name}" for name in names}
                self.references += [(module, ())] if "*" in names else []

    def write(self, node: object) -> None:
        """Write a node, a list of nodes, or a field's plain value."""
        if isinstance(node, list):
            self.text.append("[")
            for part in executed(node):
                self.write(part)
            self.text.append("]")
        elif not isinstance(node, ast.AST):
            self.text.append(repr(node))
        else:
            getattr(self, f"write_{type(node).__name__.lower()}", self.write_fields)(node)

    def write_fields(self, node: ast.AST, *skipped: str) -> None:
        self.text.append(f"({type(node).__name__}")
        for field in node._fields:
            value = getattr(node, field, None)
            if field not in UNWRITTEN and field not in skipped and value is not None and value != []:
                self.text.append(field)
                self.write(value)
        self.text.append(")")

    def write_import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.note_import(node)
        for name, (module, names) in imported(node, self.package).items():
            if self.find(name)[0] == "local":  # one name for several modules: whichever it is, it counts whole
                own = self.in_library(module)
                self.references += [(module, names)] if own else []
                self.text.append("import @" if own else f"import {'.'.join([module, *names])}")

    write_importfrom = write_import

    def write_name(self, node: ast.Name) -> None:
        self.name(node.id)

    def write_attribute(self, node: ast.Attribute) -> None:
        names, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            names.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self.name(inner.id, tuple(reversed(names)))
            return
        self.write(inner)
        self.text.append("." + ".".join(reversed(names)))

    def write_constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, str) and MODULE_NAME.fullmatch(value) and self.in_library(value):
            # a module that another process runs or loads; what ends with a dot is the beginning of its name
            self.references.append((value, ("*",) if value.endswith(".") else ("?",)))
            self.text.append("'@'")
            return
        self.text.append(f"{type(value).__name__} {value!r}")

    def write_excepthandler(self, node: ast.ExceptHandler) -> None:
        self.text.append("except")
        self.write(node.type)
        if node.name:
            self.name(node.name)
        self.write(node.body)

    def write_annassign(self, node: ast.AnnAssign) -> None:
        """Write an assignment; without its annotation, unless something may read that."""
        in_class = bool(self.scopes) and self.scopes[-1].is_class
        if in_class:
            typed = self.scopes[-1].reads_types or READS_FIELD_TYPES.search(ast.unparse(node.annotation))
            self.write_fields(node, *([] if typed else ["annotation"]))
        elif node.value is not None:
            self.write_fields(ast.Assign(targets=[node.target], value=node.value))

    def write_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        effects = [one for one in node.decorator_list if last_name(one) not in PURE_DECORATORS]
        self.write(node.decorator_list)
        in_class = bool(self.scopes) and self.scopes[-1].is_class
        self.text.append(type(node).__name__)  # a method, or what is registered, is found by its name
        self.text.append(f"={node.name}") if in_class or effects else self.name(node.name)
        self.write_function(node.args, without_docstring(node.body, self.keeps_docstrings), bool(effects))
        if effects and node.returns:
            self.write(node.returns)

    write_asyncfunctiondef = write_functiondef

    def write_lambda(self, node: ast.Lambda) -> None:
        self.text.append("lambda")
        self.write_function(node.args, [node.body], False)

    def write_function(self, arguments: ast.arguments, body: list[ast.AST], typed: bool) -> None:
        """Write a function's parameters, with their annotations if ``typed``, and its body in a scope of its own."""
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [part for part in (arguments.vararg, arguments.kwarg) if part]
        self.write([*arguments.defaults, *(part for part in arguments.kw_defaults if part)])
        self.text.append(f"defaults of {[part is not None for part in arguments.kw_defaults]}")
        for kind in ("posonlyargs", "args", "kwonlyargs"):
            self.text.append(f"{kind} {[part.arg for part in getattr(arguments, kind)]}")
        self.text.append(f"more {[part and part.arg for part in (arguments.vararg, arguments.kwarg)]}")
        for part in every:
            if typed and part.annotation:
                self.write(part.annotation)
        self.scopes.append(scope_of(body, {part.arg for part in every}, self.package))
        self.write(body)
        self.scopes.pop()

    def write_classdef(self, node: ast.ClassDef) -> None:
        decorated = any(last_name(one) not in PURE_DECORATORS for one in node.decorator_list)
        bases = [base for base in node.bases if last_name(base) != "NamedTuple"]
        self.write(node.decorator_list)
        self.text.append("class")
        self.text.append(f"={node.name}") if decorated or bases else self.name(node.name)
        self.write([*node.bases, *node.keywords])
        names = {name for part in node.body for inner in in_scope(part) for name in names_bound_by(inner)}
        # of a class with a base, such as a pydantic model, annotations may be read
        self.scopes.append(Scope(kept=names, is_class=True, reads_types=bool(decorated or bases)))
        self.write(without_docstring(node.body, self.keeps_docstrings))
        self.scopes.pop()

    def write_comprehension_of(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        targets = {
            inner.id for part in node.generators for inner in ast.walk(part.target) if isinstance(inner, ast.Name)
        }
        self.text.append(f"({type(node).__name__}")
        self.scopes.append(Scope(targets))
        self.write(node.generators)
        for field in ("key", "value", "elt"):
            if hasattr(node, field):
                self.write(getattr(node, field))
        self.scopes.pop()
        self.text.append(")")

    write_listcomp = write_setcomp = write_generatorexp = write_dictcomp = write_comprehension_of
