"""JUnit XML, as continuous integration reads it."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree

import attrs

__all__ = ["Case", "as_junit"]

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@attrs.frozen
class Case:
    """One test case. `problem` is "failure" (a promise is broken), "error" (it could not be judged), or "" for none."""

    classname: str
    name: str
    problem: str = ""
    message: str = ""
    text: str = ""


def as_junit(name: str, cases: Iterable[Case], real_s: float) -> str:
    """Return one suite of test cases as XML."""
    suite = ElementTree.Element("testsuite", name=f"wavetank {name}", time=f"{real_s:.3f}")
    counts = {"tests": 0, "failures": 0, "errors": 0}
    for each in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=each.classname, name=_xml(each.name))
        counts["tests"] += 1
        if each.problem:
            ElementTree.SubElement(case, each.problem, message=_xml(each.message)).text = _xml(each.text)
            counts[f"{each.problem}s"] += 1
    for what, count in counts.items():
        suite.set(what, str(count))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Escape the characters that XML cannot hold at all, not even escaped."""
    return NO_XML.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
