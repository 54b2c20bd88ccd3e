"""What the tests of the doctor ask of its findings."""


def only(findings, check=None):
    """The one finding (of `check`)."""
    (found,) = [finding for finding in findings if check in (None, finding.check)]
    return found


def statuses(findings):
    return [finding.status for finding in findings]
