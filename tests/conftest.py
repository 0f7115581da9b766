"""One thread for the small networks of the tests, here and in the processes that they start.

With two, waiting threads spin, and beside any other work the suite takes many times as long.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
