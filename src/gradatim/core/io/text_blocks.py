"""Reading text files in blocks of whole records, each with the number of its first line."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gradatim.core.errors import InputError, StorageError
from gradatim.core.files import storage_error
from gradatim.core.io.table_files import TableFile

BLOCK_BYTES = 1 << 22
LONGEST_RECORD = 1 << 30

Cut = Callable[[bytes], int]


@dataclass(frozen=True)
class Block:
    """Bytes of a text file that hold whole records.

    Attributes:
        data: the bytes.
        line: the number of the first line, from 1.
        last: whether the file ends here (its last record may lack the line end).
    """

    data: bytes
    line: int
    last: bool = False

    def line_at(self, offset: int) -> int:
        """The number of the line that holds a byte."""
        return self.line + count_lines(self.data, offset)


def text_blocks(file: TableFile, cut: Cut) -> Iterator[Block]:
    """Read a text file, plain or compressed, in blocks that are not blank.

    Args:
        file: the file.
        cut: how many bytes at the start of some bytes are whole records.

    Raises:
        StorageError: the file cannot be read, or its compression is broken.
        InputError: a record is longer than 1 GiB.
    """
    line, rest = 1, b""
    try:
        with closing(pa.input_stream(str(file.path), compression=file.compression)) as stream:
            while data := stream.read(max(BLOCK_BYTES, len(rest))):
                data = rest + data
                if line == 1 and data.startswith(b"\xef\xbb\xbf"):
                    data = data[3:]
                end = cut(data)
                if end:
                    yield Block(data[:end], line)
                    line += count_lines(data, end)
                rest = data[end:]
                if len(rest) > LONGEST_RECORD:
                    raise InputError(
                        f"{file.path}, line {line}: the record that begins here has no end within "
                        "1 GiB; is a quote never closed, or is this no text file?"
                    )
    except pa.ArrowException as error:
        raise StorageError(f"{file.path}: reading failed: {error}") from error
    except StorageError:
        raise
    except OSError as error:
        raise storage_error("reading", file.path, error) from error
    if rest:
        yield Block(rest, line, last=True)


def read_ahead(
    parse: Callable[[Block], pa.Table], blocks: Iterator[Block]
) -> Iterator[tuple[Block, Future[pa.Table]]]:
    """Parse blocks in threads, at most as many ahead as there are threads.

    Yields:
        Every block and its parsed table, in order; an error of ``blocks`` comes in its turn.
    """
    threads = pa.cpu_count()
    waiting: deque[tuple[Block, Future[pa.Table]]] = deque()
    failure: Exception | None = None
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            try:
                block = next(blocks, None)
            except (InputError, StorageError) as error:
                block, failure = None, error
            if block is None:
                break
            waiting.append((block, pool.submit(parse, block)))
            if len(waiting) > threads:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        # An abandoned generator may be finalized while a thread is being started, by the garbage
        # collector: to wait for threads there would wait for ever.
        pool.shutdown(wait=False, cancel_futures=True)
    if failure is not None:
        raise failure


def count_lines(data: bytes, end: int | None = None) -> int:
    """How many line ends there are before an offset."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8)[:end] == ord("\n")))


def cut_lines(data: bytes) -> int:
    """Where the last whole line ends.

    >>> cut_lines(b"ab\\ncd")
    3
    """
    return data.rfind(b"\n") + 1


def cut_records(data: bytes, delimiter: bytes) -> int:
    """Where the last whole record of CSV text ends (see :func:`record_ends`).

    >>> cut_records(b'a,"x\\ny"\\n"b\\n', b",")
    8
    """
    if b'"' not in data:
        return cut_lines(data)
    quotes = _quotes(data, delimiter)
    if quotes is None:
        ends = record_ends(data, delimiter)
        return int(ends[-1]) + 1 if len(ends) else 0
    end = data.rfind(b"\n")
    while end >= 0 and (before := int(np.searchsorted(quotes, end))) % 2:
        end = data.rfind(b"\n", 0, int(quotes[before - 1]))
    return end + 1


def record_ends(data: bytes, delimiter: bytes) -> np.ndarray:
    r"""Where the records of CSV text end: the line ends that stand outside of quotes.

    Args:
        data: CSV text that begins with a record.
        delimiter: the byte between fields.

    Returns:
        The offsets of the line ends, rising.

    >>> record_ends(b'a,"x\ny"\n5" pipe,2\n', b",").tolist()
    [7, 17]
    """
    quotes = _quotes(data, delimiter)
    if quotes is not None:
        newlines = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        outside = np.searchsorted(quotes, newlines) % 2 == 0
        return np.asarray(newlines[outside])
    mark = re.escape(delimiter)
    field = re.compile(
        rb'(?:"(?:[^"]++|"")*+(?:"|\Z))?[^' + mark + rb"\r\n]*+(?:" + mark + rb"|(\r?\n)|\r|\Z)"
    )
    return np.array([m.end() - 1 for m in field.finditer(data) if m.group(1)], dtype=np.int64)


def _quotes(data: bytes, delimiter: bytes) -> np.ndarray | None:
    """Where the quotes of CSV text stand, or None if counting them does not tell what is quoted.

    A quote opens a quoted field only where a field begins; elsewhere it is an ordinary character.
    If every second quote stands where a field begins, or doubles the one before it, then what
    follows an odd number of quotes is quoted.
    """
    octets = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(octets == ord('"'))
    opening = quotes[0::2]
    before = octets[opening - 1]
    at_start = (before == ord(delimiter)) | (before == ord("\n")) | (before == ord("\r"))
    at_start[:1] |= opening[:1] == 0
    at_start[1:] |= opening[1:] - 1 == quotes[1::2][: len(opening) - 1]
    return quotes if at_start.all() else None


def not_utf8(file: TableFile, block: Block) -> InputError:
    """The error for text that is not UTF-8: names the line and the byte."""
    try:
        block.data.decode()
    except UnicodeDecodeError as error:
        line = block.line_at(error.start)
        byte = block.data[error.start]
        return InputError(
            f"{file.path}, line {line}: expected text in UTF-8, got the byte 0x{byte:02x}"
        )
    return InputError(f"{file.path}, line {block.line} or after: expected text in UTF-8")
