"""TFRecord files, uncompressed: each record is its length, the length's sum, its bytes, and their sum (masked CRC-32C)."""

import io
import struct
from typing import BinaryIO, Iterable, Iterator, List, Tuple

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_MASK = 0xA282EAD8
_STEPS_OF_A_LANE = 32
_WIDE_FROM = 4096


def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


_TABLE = _table()
_STEPS: List[int] = _TABLE.tolist()


def crc32c(data: bytes) -> int:
    """The CRC-32C of the bytes."""
    register, done = _wide(data) if len(data) >= _WIDE_FROM else (0xFFFFFFFF, 0)
    for octet in data[done:]:
        register = _STEPS[(register ^ octet) & 0xFF] ^ register >> 8
    return register ^ 0xFFFFFFFF


def _wide(data: bytes) -> Tuple[int, int]:
    """The register after as many bytes as fill a power of two of lanes evenly, and how many bytes that are.

    The data is cut into lanes that advance together, a byte in each step, and are then folded pairwise: the register is linear over GF(2),
    so what a lane adds to the register before it is that register moved on by the lane's length, which a matrix of 32 columns does.
    """
    lanes = 1 << (len(data) // _STEPS_OF_A_LANE).bit_length() - 1
    length = len(data) // lanes
    steps = np.ascontiguousarray(np.frombuffer(data, np.uint8, lanes * length).reshape(lanes, length).T)
    registers = np.zeros(lanes + 32, np.uint32)
    registers[0] = 0xFFFFFFFF
    # 32 more lanes, one for each bit of a register, followed by zeros: the columns of the matrix for one lane's length.
    registers[lanes:] = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for step in steps:
        registers[:lanes] ^= step
        registers = _TABLE[registers & np.uint32(0xFF)] ^ registers >> np.uint32(8)
    columns, registers = registers[lanes:], registers[:lanes]
    while len(registers) > 1:
        registers = _moved(columns, registers[0::2]) ^ registers[1::2]
        columns = _moved(columns, columns)
    return int(registers[0]), lanes * length


def _moved(columns: np.ndarray, registers: np.ndarray) -> np.ndarray:
    """Each register times the matrix: the exclusive or of the columns that its bits choose."""
    tables = np.zeros((4, 256), np.uint32)
    for bit in range(8):
        tables[:, 1 << bit:2 << bit] = tables[:, :1 << bit] ^ columns[bit::8, np.newaxis]
    octets = registers.astype("<u4").view(np.uint8).reshape(-1, 4)
    return tables[0][octets[:, 0]] ^ tables[1][octets[:, 1]] ^ tables[2][octets[:, 2]] ^ tables[3][octets[:, 3]]


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


def frame(record: bytes) -> bytes:
    """One record as it stands in a file."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked(length), record, _masked(record)))


def encode(records: Iterable[bytes]) -> bytes:
    """The content of a TFRecord file."""
    return b"".join(frame(record) for record in records)


def decode(data: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file's content. Raises ValueError, with the place, where it is damaged or cut short."""
    return (record for _place, record in read(io.BytesIO(data), len(data)))


def read(stream: BinaryIO, size: int) -> Iterator[Tuple[int, bytes]]:
    """``(place, record)`` one after the other from a stream of ``size`` bytes, of which one record is in memory at a time.

    Raises ValueError, with the place, where it is damaged or cut short.
    """
    place = 0
    while place < size:
        head = stream.read(12)
        if len(head) < 12 or _masked(head[:8]) != head[8:]:
            raise ValueError("there is no TFRecord at byte %d" % place)
        length = struct.unpack("<Q", head[:8])[0]
        # A length may be any number, its sum included: what cannot be in the file is not asked for.
        record, ending = (stream.read(length), stream.read(4)) if length <= size - place - 16 else (b"", b"")
        if len(record) < length or _masked(record) != ending:
            raise ValueError("the record at byte %d is damaged or cut short" % place)
        yield place, record
        place += 16 + length
