"""The one exception for wrong user input."""


class InputError(Exception):
    """Raised if user input cannot be used; the one-line message names it, what was expected and what was found.

    Examples:
        >>> import mnistsum
        >>> try:
        ...     mnistsum.ModelConfig(hidden=0)
        ... except mnistsum.InputError as error:
        ...     print(error)
        model.hidden: expected 1 to a million, found 0
    """
