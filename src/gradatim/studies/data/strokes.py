"""How digits are written rather than which digits they are: slant, weight, shape and place."""

import numpy as np
import numpy.typing as npt

from gradatim.core.errors import InputError

STROKE_FEATURES = ("slant", "weight", "height", "width", "down", "right")
"""The columns of :func:`stroke_features`."""


def stroke_features(images: npt.ArrayLike) -> npt.NDArray[np.float64]:
    r"""Describe the style of each image's strokes by moments of its ink.

    With ink :math:`w_{rc} \ge 0` scaled to sum 1, centre :math:`(\bar r, \bar c)` and second
    moments :math:`m_{rr}, m_{cc}, m_{rc}`: slant :math:`-m_{rc} / m_{rr}` (columns to the right
    for each row upwards), weight (mean ink of a pixel), height :math:`\sqrt{m_{rr}}`, width
    :math:`\sqrt{m_{cc}}`, and the centre down and to the right.

    Args:
        images: ink, at least 0, shape [n, H, W].

    Returns:
        Shape [n, 6], the columns as in ``STROKE_FEATURES``, lengths in pixels; 0 for an image
        without ink.

    Raises:
        InputError: another shape, or negative ink.

    >>> stroke_features([[[0, 1], [1, 0]]])[0].round(2).tolist()
    [1.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    ink = np.asarray(images, dtype=np.float64)
    if ink.ndim != 3:
        raise InputError(f"images: expected shape [n, H, W], got {list(ink.shape)}")
    if (ink < 0).any():
        raise InputError("images: expected ink of at least 0, got a negative number")
    total = ink.sum(axis=(1, 2))
    share = ink / np.where(total > 0, total, 1.0)[:, None, None]
    rows, columns = np.indices(ink.shape[1:])
    down = (share * rows).sum(axis=(1, 2))
    right = (share * columns).sum(axis=(1, 2))
    row = rows - down[:, None, None]
    column = columns - right[:, None, None]
    tall = (share * row**2).sum(axis=(1, 2))
    wide = (share * column**2).sum(axis=(1, 2))
    both = (share * row * column).sum(axis=(1, 2))
    slant = np.divide(-both, tall, out=np.zeros_like(tall), where=tall > 0)
    return np.stack(
        [slant, ink.mean(axis=(1, 2)), np.sqrt(tall), np.sqrt(wide), down, right], axis=1
    )
