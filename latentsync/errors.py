"""The one exception for a user's mistake; entry points print it as one line and exit with code 2."""


class UserError(Exception):
    """What the user gave cannot be used. The message names the file or key, says what is wrong and how to mend it."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())
