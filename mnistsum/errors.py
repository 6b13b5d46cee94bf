"""`InputError`, the exception for wrong user input, and the messages of other exceptions in one line."""


class InputError(Exception):
    """Raised if a config, a command line or a file cannot be used; the one-line message says what was expected.

    Examples:
        >>> import mnistsum
        >>> try:
        ...     mnistsum.load_pretrained("bass")
        ... except mnistsum.InputError as error:
        ...     print(error)
        bass: no such model; expected base, best, a run's folder or a file of weights
    """


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's text, or the name of its type if it has none.

    Examples:
        >>> from mnistsum.errors import first_line
        >>> first_line(ValueError("one\ntwo")), first_line(ValueError())
        ('one', 'ValueError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
