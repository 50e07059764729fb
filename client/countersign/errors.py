"""What can go wrong with a call. Catch CountersignError for all of it."""


class CountersignError(Exception):
    """The call failed; the message says why. Raised itself when the server is at fault."""


class Refused(CountersignError):
    """The image or a setting is no good, said by the server or found before sending."""


class Denied(CountersignError):
    """The server restricts this call: a header or a certificate is missing or wrong."""


class Unavailable(CountersignError):
    """No server could be reached, or it took no more, after all retries."""


class DeadlineExceeded(CountersignError):
    """No answer within `timeout_s`."""
