"""No password, token or key is shown, however a URI spells it; and what is no secret stays as it is."""

import json
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from studies.credentials import has_credentials, hide_secrets, mask_credentials, mask_uri
from studies.engine.definition.loading import load_study
from studies.engine.errors import Problem, StudyError
from studies.engine.execution.ray_jobs import check_portable
from studies.engine.recording.replicate_runs import tags_of
from studies.engine.recording.study_record import study_description

FIRST, LAST = "zQ7", "Q7z"
"""How every generated secret begins and ends: neither may be shown."""


def secrets(exclude: str = "") -> st.SearchStrategy[str]:
    letters = st.characters(exclude_categories=["Cs"], exclude_characters=exclude)
    inside = st.text(st.one_of(st.sampled_from(sorted(set("/@:?#&=% '\"abc1") - set(exclude))), letters), max_size=12)
    return st.tuples(inside, st.booleans()).map(lambda drawn: _secret(*drawn))


def _secret(inside: str, is_quoted: bool) -> str:
    return FIRST + (quote(inside, safe="") if is_quoted else inside) + LAST


def assert_hidden(shown: str) -> None:
    assert FIRST not in shown
    assert LAST not in shown


@given(secrets(), st.sampled_from(["postgresql", "mysql+pymysql", "mssql+pyodbc", "http", "https", "s3"]), st.booleans())
@example("zQ7/Q7z", "https", False)
@example("zQ7@Q7z", "postgresql", False)
@example("zQ7 Q7z", "http", False)
def test_passwords_of_uris_are_hidden(secret: str, scheme: str, without_user: bool) -> None:
    """Also with /, @, spaces, quotes, # and % in it, raw or encoded; the host stays."""
    uri = f"{scheme}://{'' if without_user else 'me'}:{secret}@host:5432/db?x=1"
    assert_hidden(mask_uri(uri))
    assert mask_uri(uri).endswith("***@host:5432/db?x=1")
    assert mask_uri(mask_uri(uri)) == mask_uri(uri)
    assert has_credentials(uri)


@given(secrets(exclude=" '\"<>`\n\t\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"), st.sampled_from(["postgresql", "http", "https"]))
def test_passwords_in_texts_are_hidden(secret: str, scheme: str) -> None:
    """In a message, whose other words stay."""
    secret = "".join(secret.split())
    shown = mask_credentials(f"cannot reach {scheme}://me:{secret}@host/db (timed out), nor {scheme}://you:{secret}@there")
    assert_hidden(shown)
    assert shown.startswith(f"cannot reach {scheme}://")
    assert "@host/db (timed out), nor" in shown
    assert_hidden(mask_credentials(f"cannot reach {scheme}://me:{FIRST} pass word {LAST}@host/db"))


@given(secrets(exclude=":/?#"))
def test_tokens_as_user_names_are_hidden(secret: str) -> None:
    """Of servers; the user of a database is no secret."""
    assert mask_uri(f"https://{secret}@host/x") == "https://***@host/x"
    assert mask_uri("postgresql://me@host/db") == "postgresql://me@host/db"


OPTIONS = ["password", "passwd", "PWD", "sslpassword", "token", "access_token", "api_key", "pass%77ord", "odbc_connect", "sig"]
OPTIONS += ["pw", "account_key", "sas", "jwt", "bearer"]


@given(secrets(exclude="&"), st.sampled_from(OPTIONS))
def test_options_that_are_secrets_are_hidden(secret: str, option: str) -> None:
    """By their names, in any spelling; the others stay."""
    uri = f"postgresql+psycopg://host/db?user=me&{option}={secret}&sslmode=require"
    assert mask_uri(uri) == f"postgresql+psycopg://host/db?user=me&{option}=***&sslmode=require"
    plain = "".join(secret.split()).translate({ord(sign): "" for sign in "'\""})
    assert_hidden(mask_credentials(f"url: /api?x=1&{option}={plain} (caused by)"))


@pytest.mark.parametrize(
    "uri",
    [
        f"https://host/#access_token={FIRST}{LAST}",
        f"https://host/x?a=1;password={FIRST}{LAST}",
        f"postgresql://me@host/db?options=-c%20password={FIRST}{LAST}",
    ],
)
def test_secrets_elsewhere_in_a_uri_are_hidden(uri: str) -> None:
    """Behind #, behind a semicolon, and in an option that holds options."""
    assert_hidden(mask_uri(uri))
    assert_hidden(mask_credentials(f"cannot reach {uri} (timed out)"))


def test_long_words_take_no_time() -> None:
    """In artifacts and descriptions of others a word may have a megabyte; its time must not be the square of that."""
    begun = time.process_time()
    assert mask_credentials("h" * 300_000) == "h" * 300_000
    assert mask_credentials("h" * 300_000 + "ttp://me:secret@host") == "h" * 300_000 + "ttp://***@host"
    assert time.process_time() - begun < 2


@given(secrets(exclude="@"))
def test_errors_do_not_show_the_secrets_of_their_store(secret: str) -> None:
    """Whatever a driver makes of a URL: its parts decoded, encoded, or quoted."""
    uri = f"postgresql://me:{quote(secret, safe='')}@host/db"
    for form in (secret, quote(secret), quote_plus(secret), repr(secret)):
        assert_hidden(hide_secrets(f"login with {form} failed", uri))


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me@work/mlflow.db",
        "http://127.0.0.1:5000/#/experiments/1?searchFilter=a@b",
        "see https://docs.example/x, or write to me@example.org",
        "postgresql+psycopg://host:5432/db?sslmode=require&sslkey=/home/me/key.pem",
        "s3://bucket/prefix?region=us-east-1",
        "feature_scale=0.5 pass=2",
        "a question: is 1:2 @ 3 right?",
    ],
)
def test_texts_without_secrets_stay_as_they_are(text: str) -> None:
    """Nothing is hidden that is none."""
    assert mask_credentials(text) == text
    assert mask_uri(text) == text


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://me:{FIRST}/ @{LAST}@host/db",
        f"postgresql://host/db?user=me&password={FIRST} {LAST}&x=1",
        f"https://{FIRST}{LAST}@host:5000",
    ],
)
def test_the_records_of_a_study_hold_no_secret(uri: str, tmp_path: Path) -> None:
    """Neither its text nor what its runs are made of, nor an error; what the stores are reached with is the URI itself."""
    overrides = [f"tracking_uri={json.dumps(uri)}", f"ledger={json.dumps(uri)}", f"storage={tmp_path}"]
    study = load_study("surface_factorial", overrides)
    assert (study.stores.tracking_uri, study.stores.ledger) == (uri, uri)
    assert_hidden(study.text)
    assert_hidden(json.dumps(tags_of(study, study.replicates[0], "run", "1")))
    assert_hidden(study_description(study, "running", {}, ""))
    assert_hidden(str(StudyError([Problem("tracking_uri", f"rule of {uri}", "x", "y")])))
    with pytest.raises(StudyError) as caught:
        check_portable(study, overrides)
    assert_hidden(str(caught.value))
    assert "a job's command must hold no password" in str(caught.value)
