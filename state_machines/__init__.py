"""The state machines' definitions: pure data, written with the stepfunctions SDK."""

import logging
import os

# The hyperparameter by which the children of a tuning job differ.
SEARCH_SEED = "search_seed"

# The SDK imports the sagemaker SDK, which on import tells the console about its version 3 and
# about configuration files that are not there. Whoever has set these themselves keeps theirs.
os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
if logging.getLogger("sagemaker.config").level == logging.NOTSET:
    logging.getLogger("sagemaker.config").setLevel(logging.WARNING)
