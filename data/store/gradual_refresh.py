"""Finds packets of H.264 that are marked as keyframes though their picture is whole only some frames later.

Encoders of streams refresh the picture a column at a time (`intra-refresh` of x264). A packet then holds a recovery
point: after so many frames, says ISO 14496-10 (D.2.8), the picture is right. Decoders may give frames before that.
"""

IDR, OTHER, SEI = 5, 1, 6  # kinds of units
RECOVERY_POINT = 6  # a kind of message


def refreshes_gradually(data: bytes, header: bytes) -> bool:
    """Whether a packet has a recovery point that is reached in later frames; `header` is the decoder's, of the file."""
    for unit in _units(data, header):
        kind = unit[0] & 0x1F
        if kind in (IDR, OTHER):
            return False
        if kind == SEI and _recovers_later(unit[1:].replace(b"\0\0\3", b"\0\0")):
            return True
    return False


def _units(data: bytes, header: bytes) -> list[bytes]:
    """The units up to the first slice: behind their lengths in MP4 and Matroska, else behind start codes."""
    if header[:1] != b"\1" or len(header) < 5:
        return [part for part in data[:4096].split(b"\0\0\1") if part]
    size, place, units = (header[4] & 3) + 1, 0, []
    while place + size < len(data):
        length = int.from_bytes(data[place : place + size], "big")
        place += size
        if length:
            units.append(data[place : place + length])
            if units[-1][0] & 0x1F in (IDR, OTHER):
                break
        place += length
    return units


def _recovers_later(messages: bytes) -> bool:
    """Whether a recovery point among the messages counts more than 0 frames: its first bit is then 0."""
    place = 0
    while place + 2 < len(messages):
        numbers = []
        for _ in range(2):  # kind and length, each the sum of bytes up to one that is not 255
            number = 0
            while place < len(messages) and messages[place] == 255:
                number, place = number + 255, place + 1
            number, place = number + (messages[place] if place < len(messages) else 0), place + 1
            numbers.append(number)
        if numbers[0] == RECOVERY_POINT:
            return messages[place : place + 1] < b"\x80"
        place += numbers[1]
    return False
