"""The parts of a message that a chat template reads, by its syntax tree: which keys, and contents in parts or not.

Names are followed from `messages` on: elements of a loop over it, `set`, namespaces, arguments of macros, filters that
give messages back. Where a whole message goes somewhere that reads any key (printed, `tojson`, `items()`, a key that is
computed, compared), every key counts as read.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pretilt.pairs.pair import TemplateReads
from pretilt.pairs.rendering import TemplateRefused, TemplateRenderer

if TYPE_CHECKING:
    from jinja2 import nodes

# One name stands for another where the tokenizer fills it in: `reasoning` and `thinking` give `reasoning_content`.
_REASONING = frozenset(("reasoning_content", "thinking", "reasoning"))
_MESSAGES, _MESSAGE = "messages", "message"
_SAME = {"list", "reverse", "selectattr", "rejectattr", "select", "reject", "sort", "unique", "default", "d", "slice"}
_COUNTS = {"length", "count"}
_PART = "\ue000part\ue001"


class _AnyKey(Exception):
    """A message goes where every key of it may be read."""


def template_reads(tokenizer: Any) -> TemplateReads:
    """Of all templates that the tokenizer has. Without a template: any key (its absence is an error of its own)."""
    template = tokenizer.chat_template
    texts = list(template.values()) if isinstance(template, dict) else [template] if template else []
    keys_read: set[str] = set()
    try:
        for text in texts:
            keys_read |= message_keys(text)
    except _AnyKey:
        texts = []
    keys = frozenset(keys_read | (_REASONING if keys_read & _REASONING else set())) if texts else None
    return TemplateReads(keys, bool(template) and _prints_parts(tokenizer))


def _prints_parts(tokenizer: Any) -> bool:
    """True if a message in parts is rendered as the text of its parts, not as the Python text of a list, or refused."""
    message = {"role": "user", "content": [{"type": "text", "text": _PART}]}
    try:
        text = TemplateRenderer(tokenizer).render([message])
    except TemplateRefused:
        return False
    return _PART in text and not any(f"{quote}text{quote}: " in text for quote in "'\"")


def message_keys(template: str) -> set[str]:
    """Keys that one template may read of a message. Raises _AnyKey where that cannot be bounded."""
    from jinja2 import TemplateSyntaxError, nodes
    from transformers.utils import chat_template_utils

    try:
        environment = chat_template_utils._compile_jinja_template("").environment
        tree = environment.parse(template)
    except (TemplateSyntaxError, RecursionError):
        raise _AnyKey from None  # rendering says what is wrong with it
    walk = _Walk()
    walk.macros = {macro.name: [a.name for a in macro.args] for macro in tree.find_all(nodes.Macro)}
    try:
        while True:  # a name may be read above the place where it is set, in a loop
            before = {name: set(kinds) for name, kinds in walk.kinds.items()}
            walk.statement(tree)
            if before == walk.kinds:
                return walk.keys
    except RecursionError:
        raise _AnyKey from None


class _Walk:
    """`kinds`: what a name (or the attribute of a namespace) may be: `messages`, a `message`; else nothing."""

    def __init__(self) -> None:
        self.kinds: defaultdict[str, set[str]] = defaultdict(set, {_MESSAGES: {_MESSAGES}})
        self.keys: set[str] = {"role", "content"}
        self.macros: dict[str, list[str]] = {}

    def statement(self, node: nodes.Node) -> None:
        from jinja2 import nodes

        if isinstance(node, nodes.Expr):
            self.expression(node)
            return
        if isinstance(node, nodes.For):
            self._assign(node.target, self._elements(self.expression(node.iter)))
        elif isinstance(node, nodes.Assign):
            self._assign(node.target, self.expression(node.node))
            return
        elif isinstance(node, nodes.Macro):
            for argument, value in zip(node.args[::-1], node.defaults[::-1], strict=False):
                self._assign(argument, self.expression(value))
        elif isinstance(node, nodes.With):
            for target, value in zip(node.targets, node.values, strict=True):
                self._assign(target, self.expression(value))
        for child in node.iter_child_nodes():
            if isinstance(child, nodes.Expr) and isinstance(node, nodes.Output):
                self._nothing(child)
            elif not (isinstance(child, nodes.Name) and child.ctx != "load"):
                self.statement(child)

    def expression(self, node: nodes.Node) -> set[str]:
        """What the value may be; the keys that reading it reads are added to `keys`."""
        from jinja2 import nodes

        if isinstance(node, nodes.Name):
            return self.kinds[node.name]
        if isinstance(node, nodes.NSRef):
            return self.kinds["." + node.attr]
        if isinstance(node, nodes.Getattr):
            return self._item(self.expression(node.node), nodes.Const(node.attr)) | self._attribute(node.attr)
        if isinstance(node, nodes.Getitem):
            kind = self.expression(node.node)
            self._nothing(node.arg)
            return self._item(kind, node.arg) | self._attribute(getattr(node.arg, "value", None))
        if isinstance(node, nodes.Call):
            return self._call(node)
        if isinstance(node, nodes.Filter):
            return self._filter(node)
        if isinstance(node, nodes.Test):
            kind = self.expression(node.node)
            for part in node.iter_child_nodes(exclude=("node",)):
                self.statement(part)
            if kind and node.name in ("in", "eq", "equalto", "==", "ne", "!=", "sameas"):
                raise _AnyKey
            return set()
        if isinstance(node, nodes.Compare):
            return self._compare(node)
        if isinstance(node, nodes.CondExpr):
            self.expression(node.test)
            return self.expression(node.expr1) | (self.expression(node.expr2) if node.expr2 else set())
        if isinstance(node, nodes.And | nodes.Or | nodes.Add):
            return self.expression(node.left) | self.expression(node.right)
        if isinstance(node, nodes.Not):
            self.expression(node.node)
            return set()
        if isinstance(node, nodes.List | nodes.Tuple):
            kind = set().union(*(self.expression(item) for item in node.items))
            return {_MESSAGES} if kind else set()
        for child in node.iter_child_nodes():  # an operation that gives something new: nothing of a message may go in
            self._nothing(child)
        return set()

    def _nothing(self, node: nodes.Node) -> None:
        """An expression that must not be a message, since all of it would be read."""
        from jinja2 import nodes

        if isinstance(node, nodes.Expr):
            if self.expression(node):
                raise _AnyKey
        else:
            for child in node.iter_child_nodes():
                self._nothing(child)

    def _attribute(self, name: Any) -> set[str]:
        """What a namespace, or a loop, has under the name."""
        if name in ("previtem", "nextitem"):
            return {_MESSAGE}
        return self.kinds["." + name] if isinstance(name, str) else set()

    def _item(self, kind: set[str], key: nodes.Node) -> set[str]:
        from jinja2 import nodes

        if _MESSAGE in kind:
            try:
                name = key.as_const() if isinstance(key, nodes.Expr) else None
            except nodes.Impossible:
                name = None
            if not isinstance(name, str):
                if _MESSAGES not in kind:
                    raise _AnyKey
            elif name in ("items", "keys", "values", "copy", "get"):
                raise _AnyKey  # `get` as a call is read in `_call`
            else:
                self.keys.add(name)
        if _MESSAGES not in kind:
            return set()
        return {_MESSAGES} if isinstance(key, nodes.Slice) else {_MESSAGE}

    def _elements(self, kind: set[str]) -> set[str]:
        if _MESSAGE in kind:
            raise _AnyKey  # its keys, one after another
        return {_MESSAGE} if kind else set()

    def _assign(self, target: nodes.Node, kind: set[str]) -> None:
        from jinja2 import nodes

        if isinstance(target, nodes.Name):
            self.kinds[target.name] |= kind
        elif isinstance(target, nodes.NSRef):
            self.kinds["." + target.attr] |= kind
        elif kind:
            raise _AnyKey

    def _call(self, node: nodes.Call) -> set[str]:
        from jinja2 import nodes

        callee = node.node
        if isinstance(callee, nodes.Getattr) and callee.attr == "get" and node.args:
            kind = self.expression(callee.node)
            if kind:
                if kind != {_MESSAGE}:
                    raise _AnyKey
                self._item(kind, node.args[0])
                return set().union(*(self.expression(a) for a in node.args[1:]))
        if isinstance(callee, nodes.Name) and callee.name == "namespace":
            for keyword in node.kwargs:
                self.kinds["." + keyword.key] |= self.expression(keyword.value)
            for value in [*node.args, *filter(None, (node.dyn_args, node.dyn_kwargs))]:
                self._nothing(value)
            return set()
        if isinstance(callee, nodes.Name) and callee.name in self.macros:
            names = self.macros[callee.name]
            arguments = [
                *zip(names, node.args, strict=False),
                *((k.key, k.value) for k in node.kwargs if k.key in names),
            ]
            for name, value in arguments:
                self.kinds[name] |= self.expression(value)
            more = [*node.args[len(names) :], *(k.value for k in node.kwargs if k.key not in names)]
            for value in [*more, *filter(None, (node.dyn_args, node.dyn_kwargs))]:
                self._nothing(value)
            return set()
        if self.expression(callee):
            raise _AnyKey
        for part in node.iter_child_nodes(exclude=("node",)):
            self._nothing(part)
        return set()

    def _filter(self, node: nodes.Filter) -> set[str]:
        from jinja2 import nodes

        kind = self.expression(node.node) if node.node is not None else set()
        arguments = set().union(*(self.expression(a) for a in node.args)) if node.name in ("default", "d") else set()
        if node.name not in ("default", "d"):
            for part in node.iter_child_nodes(exclude=("node",)):
                self._nothing(part)
        if not kind | arguments:
            return set()
        if node.name in _COUNTS:
            return set()
        named = [k.value for k in node.kwargs if k.key == "attribute"]
        if kind == {_MESSAGES} and node.name in ("selectattr", "rejectattr"):
            named += node.args[:1]
        for name in named:
            if not (isinstance(name, nodes.Const) and isinstance(name.value, str)):
                raise _AnyKey
            self.keys.add(name.value.split(".")[0])
        if kind == {_MESSAGES} and node.name == "map" and named:
            return set()
        if kind == {_MESSAGES} and node.name in ("first", "last", "random"):
            return {_MESSAGE}
        if node.name in _SAME and (named or node.name not in ("sort", "unique", "select", "reject", "slice")):
            return kind | arguments
        raise _AnyKey

    def _compare(self, node: nodes.Compare) -> set[str]:
        from jinja2 import nodes

        left = self.expression(node.expr)
        for operand in node.ops:
            right = self.expression(operand.expr)
            if right == {_MESSAGE} and operand.op in ("in", "notin") and not left:
                self._item(right, node.expr)
            elif (left or right) and not isinstance(operand.expr, nodes.Const):
                raise _AnyKey
            left = right
        return set()
