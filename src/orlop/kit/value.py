"""Frozen dataclasses that cost nothing at start.

`from orlop.kit.value import dataclass, field` gives what the same words from `dataclasses` give, for
values: frozen, compared and hashed by their fields. Type checkers see the standard ones. The difference is
time: `dataclasses` pulls in `inspect` and compiles code for every class (11 ms, and 0.4 ms a class, on the
machine of docs/benchmarks.md; `orlop run` has 55 in all), this makes a class in 15 microseconds.
`dataclasses.replace`, `fields` and `asdict` work on such values; that module is imported when they are used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:

    class _Factory:
        """A default that is made anew for every value."""

        __slots__ = ("make",)

        def __init__(self, make):
            self.make = make

    class _Fields:
        """`__dataclass_fields__`, made by the standard module when somebody asks for it."""

        def __get__(self, instance, owner):
            import dataclasses

            twin = dataclasses.make_dataclass(owner.__name__, owner.__value_types__.items(), frozen=True)
            owner.__dataclass_fields__ = twin.__dataclass_fields__
            return owner.__dataclass_fields__

    def field(*, default_factory):
        return _Factory(default_factory)

    def dataclass(*, frozen):
        assert frozen, "values are frozen"
        return _made

    def _made(cls):
        types = {}
        for base in reversed(cls.__mro__):
            types.update(getattr(base, "__annotations__", {}))
        names = tuple(types)
        cls.__value_types__ = types
        cls.__value_names__ = cls.__match_args__ = names
        cls.__value_defaults__ = {name: getattr(cls, name) for name in names if hasattr(cls, name)}
        for name, default in cls.__value_defaults__.items():
            if isinstance(default, _Factory) and name in cls.__dict__:
                delattr(cls, name)
        cls.__dataclass_fields__ = _Fields()
        cls.__init__ = _init
        cls.__eq__ = _eq
        cls.__hash__ = _hash
        cls.__setattr__ = _refuse
        cls.__delattr__ = _refuse
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = _repr
        return cls

    def _init(self, *args, **kwargs):
        cls = type(self)
        names = cls.__value_names__
        values = self.__dict__
        if len(args) > len(names):
            raise TypeError(f"{cls.__name__}() takes {len(names)} values, {len(args)} given")
        values.update(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in values or name not in names:
                raise TypeError(f"{cls.__name__}() got an unexpected or repeated value {name!r}")
            values[name] = value
        if len(values) < len(names):
            for name in names:
                if name not in values:
                    try:
                        default = cls.__value_defaults__[name]
                    except KeyError:
                        raise TypeError(f"{cls.__name__}() lacks {name!r}") from None
                    values[name] = default.make() if type(default) is _Factory else default
        if hasattr(cls, "__post_init__"):
            self.__post_init__()

    def _eq(self, other):
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(tuple(self.__dict__[name] for name in self.__value_names__))

    def _refuse(self, name, value=None):
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def _repr(self):
        inside = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.__value_names__)
        return f"{type(self).__qualname__}({inside})"


__all__ = ["dataclass", "field"]
