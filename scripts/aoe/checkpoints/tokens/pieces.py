"""Pieces of SentencePiece models (``tokenizer.model``), read from the file's protocol buffer.

Only the field ``pieces`` of the message is looked at, and of each piece its text and type.  The library that writes
these files is left out: plans are made in environments with few packages.
"""

from collections.abc import Iterator

PIECES, TEXT, TYPE = 1, 1, 3  # numbers of fields
NORMAL, BYTE = 1, 6  # types; the others are unknown, control, user-defined and unused pieces
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how fields are written


def read_pieces(content: bytes) -> list[tuple[str, int]]:
    """Return [(text, type)] of a SentencePiece model's pieces, in the order of their ids.

    Raises ValueError if the content is no such model.
    """
    found = []
    for number, value in _fields(content):
        if number == PIECES:
            if not isinstance(value, bytes):
                raise ValueError("a piece is no message")
            fields = dict(_fields(value))
            text, kind = fields.get(TEXT), fields.get(TYPE, NORMAL)
            if not isinstance(text, bytes) or not isinstance(kind, int):
                raise ValueError("a piece has no text")
            found.append((text.decode(), kind))
    if not found:
        raise ValueError("there are no pieces")
    return found


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of a message's fields."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == VARINT:
            value, place = _varint(message, place)
        elif kind in (BYTES, FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
            if kind == BYTES:
                length, place = _varint(message, place)
            value, place = message[place : place + length], place + length
        else:
            raise ValueError(f"a field is written in the unknown way {kind}")
        if place > len(message):
            raise ValueError("it ends within a field")
        yield number, value


def _varint(message, place):
    """(the number of variable length at ``place``, where it ends)."""
    number = shift = 0
    while place < len(message):
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place
    raise ValueError("it ends within a number")
