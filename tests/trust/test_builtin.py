"""The built-in roots are what their manifest says, load whole, and come with sipsua however it is installed."""

from __future__ import annotations

import subprocess
import sys
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import certifi
import pytest

from certs import readme
from sipsua.trust.builtin import built_in_roots, mozilla_roots
from sipsua.trust.certificate import describe
from sipsua.trust.names import presented_names
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList, load
from sipsua.trust.verifier import judge

TOP = Path(__file__).parents[2]


def test_the_ip_phone_has_76_built_in_trusted_certificates() -> None:
    roots = built_in_roots()
    assert len(roots) == 76
    assert {anchor.origin for anchor in roots} == {"built-in"}
    assert all(describe(anchor.der).serial for anchor in roots)  # each can be read


def test_18_of_the_built_in_roots_have_expired_as_on_real_phones() -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    assert sum(describe(anchor.der).not_after < at for anchor in built_in_roots()) == 18


def test_old_roots_with_md5_and_short_keys_are_loaded() -> None:
    described = [describe(anchor.der) for anchor in built_in_roots()]
    assert sum(one.key == "RSA 1024" for one in described) >= 5
    assert sum("md5" in one.signature.lower() for one in described) >= 3


def test_a_root_with_serial_number_0_is_loaded_without_a_warning() -> None:
    # Warnings are errors in these tests.
    zeros = [anchor for anchor in built_in_roots() if describe(anchor.der).serial == "0"]
    assert zeros
    assert all(presented_names(anchor.der) for anchor in zeros)


def test_reading_certificates_in_threads_leaves_the_filters_of_warnings_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zero = next(anchor.der for anchor in built_in_roots() if describe(anchor.der).serial == "0")
        load(zero)
        before = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(load, [zero] * 400))) == 400
        assert list(warnings.filters) == before
        with pytest.raises(DeprecationWarning):
            warnings.warn("another", DeprecationWarning, stacklevel=1)


def test_bundle_and_manifest_agree_and_the_readme_has_their_table() -> None:
    assert readme.faults() == []
    assert readme.README.read_text() == readme.readme()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "# thawte Primary Root CA\n",
            "# Thawte Root\n",
            "name is Thawte Root, but thawte Primary Root CA in the manifest",
        ),
        ("# DST Root CA X3\n-----BEGIN", "# DST Root CA X3\n-----NO", "75 certificates, 76 entries"),
    ],
)
def test_a_bundle_that_differs_from_the_manifest_is_told(
    old: str, new: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = readme.BUNDLE.read_text()
    assert text.count(old) == 1
    (tmp_path / "builtin.pem").write_text(text.replace(old, new))
    monkeypatch.setattr(readme, "BUNDLE", tmp_path / "builtin.pem")
    assert any(says in fault for fault in readme.faults())
    assert readme.main(["--check"]) == 1


def test_a_readme_with_another_table_is_told_and_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = readme.README.read_text()
    (tmp_path / "README.md").write_text(good.replace("| 7 |", "| 8 |"))
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    assert readme.main(["--check"]) == 1
    assert readme.main([]) == 0
    assert (tmp_path / "README.md").read_text() == good
    assert readme.main(["--check"]) == 0


def test_mozilla_roots_are_those_of_certifi() -> None:
    roots = mozilla_roots()
    assert {anchor.origin for anchor in roots} == {"mozilla"}
    assert len(roots) == Path(certifi.where()).read_text().count("BEGIN CERTIFICATE") > 100


@pytest.mark.parametrize("roots", [built_in_roots, mozilla_roots])
def test_the_same_list_comes_each_time(roots: object) -> None:
    assert callable(roots)
    assert roots() is roots()


def test_an_anchor_of_both_lists_is_a_built_in_one_where_that_comes_first() -> None:
    both = TrustList.union(built_in_roots(), mozilla_roots())
    by_subject = {anchor.subject: anchor.origin for anchor in both}
    assert by_subject["CN=ISRG Root X1,O=Internet Security Research Group,C=US"] == "built-in"
    assert 117 < len(both) < 76 + len(mozilla_roots())


def test_a_built_in_root_judges_as_of_its_time() -> None:
    root = next(anchor for anchor in built_in_roots() if "DST Root CA X3" in anchor.subject)
    policy = Policy(anchors=built_in_roots(), names="off")  # type: ignore[arg-type]
    codes = [
        {problem.code for problem in judge([root.der], policy=policy, reference="x", at=at).problems}
        for at in (datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    ]
    assert "expired" not in codes[0]
    assert "expired" in codes[1]


def test_a_wheel_brings_the_built_in_roots(tmp_path: Path) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--wheel-dir", tmp_path, TOP], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("sipsua-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = "from sipsua.trust import builtin; print(builtin.__file__, len(builtin.built_in_roots()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "site",
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(tmp_path / "site" / "sipsua" / "trust" / "builtin.py"), "76"]
