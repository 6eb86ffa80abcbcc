"""Neuron models by name: of ``to_snn`` and the command line, and in files."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from spikeport.convert.errors import ConversionError
from spikeport.convert.neurons.model import CLASSES, NeuronModel, constructor_call


class _Kinds(Mapping[str, NeuronModel]):
    """The names that the classes defined so far give, each with its neuron model."""

    def __getitem__(self, name: str) -> NeuronModel:
        return self._named()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named())

    def __len__(self) -> int:
        return len(self._named())

    def _named(self) -> dict[str, NeuronModel]:
        found: dict[str, NeuronModel] = {}
        for cls in CLASSES.values():
            own = cls.kinds() if "kinds" in vars(cls) else {}
            for name in own.keys() & found.keys():
                raise ConversionError(
                    f"'{name}' names {own[name]!r} and {found[name]!r}; choose another name in "
                    f"{cls.__qualname__}.kinds"
                )
            found |= own
        return found


KINDS: Mapping[str, NeuronModel] = _Kinds()


def neuron_model(neuron: str | NeuronModel) -> NeuronModel:
    """The neuron model that is meant.

    Args:
        neuron: one, which is returned as it is; a name in ``KINDS``; or a text that a class reads:
            "8:8", "mt:4", "diff:mt:4".

    Raises:
        ConversionError: nothing reads it, or its values cannot be.
    """
    if isinstance(neuron, NeuronModel):
        return neuron
    if isinstance(neuron, str):
        if neuron in KINDS:
            return KINDS[neuron]
        for cls in list(CLASSES.values()):
            found = cls.parse(neuron) if "parse" in vars(cls) else None
            if found is not None:
                return found
    raise ConversionError(
        f"unknown neuron {neuron!r}; expected {', '.join(map(repr, sorted(KINDS)))}, a text such "
        "as '4:4' or 'mt:4', or a neuron model such as Neuron(max_up=4, max_down=4)"
    )


def spelled(model: NeuronModel) -> str:
    """The shortest text that ``neuron_model`` reads as this neuron, or else its fields."""
    for name, kind in KINDS.items():
        if kind == model:
            return name
    text = model.text
    return text if text and neuron_model(text) == model else constructor_call(model)


def syntaxes() -> list[str]:
    """Spellings of the command line: the names, then the text of each class, explained."""
    own = [str(vars(cls).get("syntax", "")) for cls in CLASSES.values()]
    return [", ".join(KINDS), *filter(None, own)]


def describe_model(model: Any) -> dict[str, Any]:
    """A neuron model for a file: its class's ``kind`` and its fields, JSON-able.

    Raises:
        ConversionError: it is no dataclass, its class has been defined again since, or the fields
            do not tell all of it.
    """
    cls = type(model)
    if not is_dataclass(model):
        raise ConversionError(
            f"{cls.__qualname__} neurons cannot be saved, since the class is no dataclass; "
            "decorate it with @dataclass(frozen=True), its parameters as fields"
        )
    if CLASSES.get(cls.kind) is not cls:
        raise ConversionError(
            f"{cls.__qualname__} neurons cannot be saved: the class has been defined again since; "
            "convert with the new one"
        )
    record: dict[str, Any] = {"kind": cls.kind}
    for each in fields(model):
        value = getattr(model, each.name)
        if isinstance(value, NeuronModel):
            value = describe_model(value)
        elif type(value) not in (bool, int, float, str, type(None)):
            raise ConversionError(
                f"{cls.__qualname__}.{each.name} is {value!r}, which cannot be saved; expected a "
                "number, a bool, a text, None or a neuron model"
            )
        record[each.name] = value
    again: Any = described_model(record)
    if again != model:
        raise ConversionError(
            f"{cls.__qualname__} neurons cannot be saved: {model!r} is not what its fields make; "
            "keep all that it depends on in the fields of the dataclass"
        )
    return record


def described_model(record: Any) -> NeuronModel:
    """The neuron model that ``describe_model`` described; only classes defined here are looked up.

    Raises:
        ConversionError: a kind that has not been defined, fields that the class does not have, or
            values that it refuses.
    """
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise ConversionError(f"a neuron model is {record!r}; expected its kind and fields")
    kind = record["kind"]
    if kind not in CLASSES:
        raise ConversionError(
            f"its neurons are of the kind {kind!r}, which has not been defined here; import or "
            f"define that class before. Known are {', '.join(sorted(CLASSES))}"
        )
    cls: Any = CLASSES[kind]
    values = {name: value for name, value in record.items() if name != "kind"}
    known = {each.name for each in fields(cls)} if is_dataclass(cls) else set()
    if set(values) != known:
        raise ConversionError(
            f"{kind} neurons have the fields {sorted(values)}; expected {sorted(known)}"
        )
    nested = {name: described_model(v) if isinstance(v, dict) else v for name, v in values.items()}
    try:
        return cls(**nested)
    except TypeError as cause:  # its own __init__ takes something else, or it is abstract
        raise ConversionError(f"{kind} neurons are not made from their fields: {cause}") from cause
