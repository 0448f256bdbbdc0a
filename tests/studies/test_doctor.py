"""The doctor names versions, and the line that installs what is missing."""

import pytest

from policyscope.studies import doctor


def test_missing_package_comes_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "NEEDED", ("torch", "no-such-package"))
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such-extra": "extra"})
    found = doctor.diagnose()
    assert found.packages["torch"]
    assert found.to_json()["missing"] == {
        "no-such-package": "pip install no-such-package",
        "no-such-extra": "pip install 'policyscope[extra]'",
    }
    assert "not installed" in str(found)
    assert found.devices[0] == "cpu"
